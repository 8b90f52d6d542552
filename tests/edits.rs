//! Where a status comes from when there are files: the seed, edits of it, posts, and what a restart makes of them. The last
//! event wins; and what it costs to look.

mod common;

use common::{
    ConfigMap, PROGRAM, Response, Server, Signal, TemporaryDir, UNKNOWN, finish, program, task_counter, threads,
};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

const A: &str = r#"{"repo":"a"}"#;
const B: &str = r#"{"repo":"b"}"#;
const C: &str = r#"{"repo":"c"}"#;
const POSTED: &str = r#"{"repo":"posted"}"#;
const POSTED_LATER: &str = r#"{"repo":"posted later"}"#;

/// A seed, a state directory that may be used, and a server that can be restarted.
struct World {
    dir: TemporaryDir,
    seed: String,
    with_seed: bool,
    with_state: bool,
    refresh: u32,
    server: Option<Server>,
}

impl World {
    /// A server with this seed, which looks whenever it is asked.
    fn new(seed: &str, with_state: bool) -> World {
        World::with_refresh(seed, with_state, 0)
    }

    fn with_refresh(seed: &str, with_state: bool, refresh: u32) -> World {
        let dir = TemporaryDir::in_memory();
        let seed = dir.file("seed.json", seed.as_bytes());
        let mut world = World { dir, seed, with_seed: true, with_state, refresh, server: None };
        world.start();
        world
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--refresh-ms".to_owned(), self.refresh.to_string()];
        if self.with_seed {
            arguments.extend(["--seed-file".to_owned(), self.seed.clone()]);
        }
        if self.with_state {
            arguments.extend(["--state-dir".to_owned(), self.dir.path("state")]);
        }
        arguments
    }

    fn start(&mut self) {
        let arguments = self.arguments();
        self.server = Some(Server::start(&arguments.iter().map(String::as_str).collect::<Vec<_>>()));
    }

    fn kill(&mut self) {
        self.server = None;
    }

    fn restart(&mut self) {
        self.kill();
        self.start();
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("the server runs")
    }

    fn log(&self) -> String {
        self.server().whole_log()
    }

    fn status(&self) -> String {
        let response = self.server().get("/status.json");
        assert_eq!(response.code, 200, "{}", response.text());
        response.text().to_owned()
    }

    fn post(&self, status: &str) {
        let response = self.server().post(status.as_bytes());
        assert_eq!(response.code, 200, "{}", response.text());
    }

    /// Edits the seed in place.
    fn edit(&self, content: &str) {
        fs::write(&self.seed, content).unwrap();
    }

    /// Edits it as an editor does that writes a new file.
    fn edit_by_rename(&self, content: &str) {
        fs::rename(self.dir.file("new.json", content.as_bytes()), &self.seed).unwrap();
    }

    /// How often the log tells that the seed was taken, since the last start.
    fn taken(&self) -> usize {
        self.log().matches(&format!(" info seed file {}: ", self.seed)).count()
    }

    /// How often it tells that the seed was refused.
    fn refused(&self) -> usize {
        self.log().matches(&format!(" error seed file {} is refused and the old status stays: ", self.seed)).count()
    }
}

/// Once without a state directory and once with one.
fn both(test: impl Fn(bool)) {
    for with_state in [false, true] {
        test(with_state);
    }
}

#[test]
fn the_seed_is_the_first_status() {
    both(|with_state| {
        let world = World::new(A, with_state);
        assert_eq!(world.status(), A);
        assert_eq!(world.taken(), 1);
        assert_eq!(world.server().get("/ready").code, 200);
        if with_state {
            assert_eq!(fs::read_to_string(world.dir.path("state/status.json")).unwrap(), A);
        }
    });
}

#[test]
fn without_a_seed_and_a_state_the_first_status_is_unknown_and_is_not_written() {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let server = Server::start(&["--state-dir", &state, "--refresh-ms", "0"]);
    assert_eq!(server.get("/status.json").text(), UNKNOWN);
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn an_edit_in_place_or_by_rename_is_the_status_at_the_next_get() {
    both(|with_state| {
        let world = World::new(A, with_state);
        for (number, content) in [B, A, C, B, "{ \"repo\" : \"longer\" }\n"].into_iter().enumerate() {
            if number % 2 == 0 {
                world.edit(content)
            } else {
                world.edit_by_rename(content)
            }
            assert_eq!(world.status(), content);
            assert_eq!(world.status(), content);
            assert_eq!(world.taken(), 2 + number);
        }
        // Of the same size, and all within what a clock of a file system can tell apart.
        for number in 0..50 {
            let content = format!(r#"{{"repo":"{number:04}"}}"#);
            world.edit(&content);
            assert_eq!(world.status(), content);
        }
        assert_eq!(world.refused(), 0, "{}", world.log());
    });
}

#[test]
fn an_edit_by_kubelet_is_the_status_at_the_next_get() {
    both(|with_state| {
        let mut world = World::new(A, with_state);
        let mut map = ConfigMap::new(world.dir.path("map"), B.as_bytes());
        world.seed = map.path();
        world.restart();
        assert_eq!(world.status(), B);
        for (number, content) in [A, C, B, A].into_iter().enumerate() {
            map.swap(content.as_bytes());
            assert_eq!(world.status(), content);
            assert_eq!(world.taken(), 2 + number);
        }
        world.post(POSTED);
        // The same content in another file is no edit.
        map.swap(A.as_bytes());
        assert_eq!(world.status(), POSTED);
        map.swap(B.as_bytes());
        world.restart();
        assert_eq!(world.status(), B);
        assert_eq!(world.refused(), 0, "{}", world.log());
    });
}

#[test]
fn an_edit_is_seen_by_every_request_that_depends_on_it() {
    both(|with_state| {
        let world = World::new(A, with_state);
        let mut client = world.server().connect();
        let tag = client.get("/status.json").field("ETag").unwrap().to_owned();
        world.edit(B);
        client.send(b"HEAD /status.json HTTP/1.1\r\nHost: test\r\n\r\n");
        assert_ne!(client.read_response(true).field("ETag"), Some(&*tag));
        world.edit(C);
        client.send(format!("GET /status.json HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n").as_bytes());
        assert_eq!(client.response().text(), C);
        world.edit(A);
        client.send(format!("GET /status.json HTTP/1.1\r\nHost: test\r\nIf-None-Match: {tag}\r\n\r\n").as_bytes());
        assert_eq!(client.response().code, 304);
        assert_eq!(world.taken(), 4);
        world.edit(B);
        assert_eq!(client.get("/ready").code, 200);
        assert_eq!(world.taken(), 5);
        // Nothing that it answers depends on files.
        world.edit(A);
        assert_eq!(client.get("/health").code, 200);
        assert_eq!(client.get("/nothing").code, 404);
        assert_eq!(world.taken(), 5);
    });
}

#[test]
fn an_edit_is_seen_when_refresh_ms_are_over() {
    both(|with_state| {
        let world = World::with_refresh(A, with_state, 300);
        for content in [B, C, A] {
            // This is a look, or there was one a short time ago.
            world.status();
            world.edit(content);
            let edited = Instant::now();
            thread::sleep(Duration::from_millis(301));
            assert_eq!(world.status(), content, "{:?} after the edit", edited.elapsed());
        }
    });
}

#[test]
fn an_edit_is_not_seen_before_refresh_ms_are_over_but_at_sighup() {
    both(|with_state| {
        let world = World::with_refresh(A, with_state, 60_000);
        for (number, content) in [B, A, C].into_iter().enumerate() {
            let before = world.status();
            world.edit(content);
            for _ in 0..20 {
                assert_eq!(world.status(), before);
                assert_eq!(world.server().get("/ready").code, 200);
            }
            assert_eq!(world.taken(), 1 + number);
            let told = format!("info seed file {}: {} bytes", world.seed, content.len());
            look_by_signal(&world);
            assert_eq!(world.status(), content);
            let log = world.log();
            assert_eq!(log.matches("SIGHUP: looking at the files").count(), 1 + number, "{log}");
            let last = log.lines().rfind(|line| line.contains("seed file")).unwrap();
            assert!(last.ends_with(&told), "{log}");
        }
    });
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + common::PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it does not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

/// File systems tell times apart that are some milliseconds apart.
fn pause() {
    thread::sleep(Duration::from_millis(30));
}

/// Sends SIGHUP and waits until the look is over, which is when the thread for it sleeps again.
fn look_by_signal(world: &World) {
    let server = world.server();
    let task = server.store_thread();
    let before = server.sleeps(task);
    server.signal(Signal::HUP);
    wait_until(|| server.sleeps(task) > before);
}

#[test]
fn a_post_after_an_edit_that_nobody_has_seen_wins_over_it_for_good() {
    both(|with_state| {
        let mut world = World::with_refresh(A, with_state, 60_000);
        world.edit(B);
        world.post(POSTED);
        assert_eq!(world.status(), POSTED);
        look_by_signal(&world);
        assert_eq!(world.status(), POSTED, "{}", world.log());
        // The edit was seen all the same, and was the status until the post.
        assert_eq!(world.taken(), 2);
        world.restart();
        assert_eq!(world.status(), if with_state { POSTED } else { B });
        look_by_signal(&world);
        assert_eq!(world.status(), if with_state { POSTED } else { B });
    });
}

#[test]
fn an_edit_after_a_post_wins_over_it_for_good() {
    both(|with_state| {
        let mut world = World::new(A, with_state);
        world.post(POSTED);
        assert_eq!(world.status(), POSTED);
        world.edit(B);
        assert_eq!(world.status(), B);
        world.restart();
        assert_eq!(world.status(), B);
        world.post(POSTED_LATER);
        world.edit(C);
        world.restart();
        assert_eq!(world.status(), C);
        world.restart();
        assert_eq!(world.status(), C);
        world.post(POSTED);
        world.restart();
        assert_eq!(world.status(), if with_state { POSTED } else { C });
    });
}

#[test]
fn the_last_of_any_order_of_edits_posts_and_restarts_is_the_status() {
    for order in 0..4_u32.pow(4) {
        // Some of all orders, the same ones each time.
        if order % 7 != 3 {
            continue;
        }
        let mut world = World::new(A, true);
        let mut expected = A.to_owned();
        let mut edited = A.to_owned();
        for step in 0..4 {
            let content = format!(r#"{{"repo":"{order}/{step}"}}"#);
            match order / 4_u32.pow(step) % 4 {
                0 => {
                    world.edit(&content);
                    (expected, edited) = (content.clone(), content);
                }
                1 => {
                    world.post(&content);
                    expected = content;
                }
                2 => world.restart(),
                _ => {
                    world.edit_by_rename(&edited);
                }
            }
        }
        assert_eq!(world.status(), expected, "order {order}: {}", world.log());
    }
}

#[test]
fn an_unchanged_seed_never_wins_over_what_was_posted() {
    let mut world = World::new(A, true);
    world.post(POSTED);
    for _ in 0..3 {
        world.restart();
        assert_eq!(world.status(), POSTED);
        assert_eq!(world.taken(), 0, "{}", world.log());
    }
    world.edit(B);
    assert_eq!(world.status(), B);
    world.post(POSTED_LATER);
    world.restart();
    assert_eq!(world.status(), POSTED_LATER);
}

#[test]
fn a_seed_that_is_only_touched_or_written_again_with_the_same_bytes_changes_nothing() {
    both(|with_state| {
        let mut world = World::new(A, with_state);
        world.post(POSTED);
        let touch = |world: &World, way: usize| match way {
            0 => fs::File::options().append(true).open(&world.seed).unwrap().set_modified(SystemTime::now()).unwrap(),
            1 => world.edit(A),
            2 => world.edit_by_rename(A),
            _ => fs::set_permissions(&world.seed, fs::metadata(&world.seed).unwrap().permissions()).unwrap(),
        };
        for way in 0..4 {
            touch(&world, way);
            assert_eq!(world.status(), POSTED, "way {way}: {}", world.log());
            assert_eq!(world.taken(), 1);
        }
        if with_state {
            for way in 0..4 {
                world.kill();
                touch(&world, way);
                world.start();
                assert_eq!(world.status(), POSTED, "way {way}: {}", world.log());
                assert_eq!(world.taken(), 0);
            }
        }
        // They are edits again.
        world.edit(B);
        assert_eq!(world.status(), B);
    });
}

#[test]
fn a_seed_that_was_edited_while_the_server_was_down_wins() {
    let mut world = World::new(A, true);
    world.post(POSTED);
    world.kill();
    world.edit(B);
    world.start();
    assert_eq!(world.status(), B);
    assert_eq!(fs::read_to_string(world.dir.path("state/status.json")).unwrap(), B);
    world.post(POSTED);
    world.restart();
    assert_eq!(world.status(), POSTED);
}

#[test]
fn a_seed_that_is_edited_back_to_what_it_was_wins_while_the_server_runs_and_while_it_is_down() {
    let mut world = World::new(A, true);
    world.post(POSTED);
    world.edit(B);
    assert_eq!(world.status(), B);
    world.post(POSTED_LATER);
    world.edit(A);
    assert_eq!(world.status(), A);
    world.post(POSTED);
    world.kill();
    world.edit(B);
    world.start();
    assert_eq!(world.status(), B);
    world.post(POSTED);
    world.restart();
    assert_eq!(world.status(), POSTED);
    world.kill();
    world.edit(A);
    world.start();
    assert_eq!(world.status(), A);
    assert_eq!(world.taken(), 1);
}

#[test]
fn without_a_state_directory_an_edit_back_to_what_the_seed_was_wins_too() {
    let world = World::new(A, false);
    for content in [B, A, B] {
        world.post(POSTED);
        world.edit(content);
        assert_eq!(world.status(), content);
    }
}

#[test]
fn a_state_that_somebody_wrote_after_an_edit_while_the_server_was_down_wins_over_it() {
    let mut world = World::new(A, true);
    world.kill();
    world.edit(B);
    pause();
    world.dir.file("state/status.json", C.as_bytes());
    world.start();
    assert_eq!(world.status(), C, "{}", world.log());
    // And the other way round.
    world.kill();
    world.dir.file("state/status.json", POSTED.as_bytes());
    pause();
    world.edit(A);
    world.start();
    assert_eq!(world.status(), A, "{}", world.log());
}

#[test]
fn of_a_state_and_a_seed_that_were_both_written_since_the_last_look_the_later_one_wins() {
    let world = World::with_refresh(A, true, 60_000);
    for (round, (seed, state)) in [(B, POSTED), (C, POSTED_LATER)].into_iter().enumerate() {
        world.edit(seed);
        pause();
        world.dir.file("state/status.json", state.as_bytes());
        look_by_signal(&world);
        assert_eq!(world.status(), state, "{}", world.log());
        assert_eq!(world.taken(), 1 + round);
        pause();
        world.dir.file("state/status.json", format!(r#"{{"repo":"{round}"}}"#).as_bytes());
        pause();
        world.edit(A);
        look_by_signal(&world);
        assert_eq!(world.status(), A, "{}", world.log());
        assert_eq!(world.taken(), 2 + round);
    }
}

/// How a seed is made something that is no status, and how the log says so.
type Spoiling = (&'static str, fn(&World), &'static str);

const SPOILINGS: [Spoiling; 8] = [
    ("garbage", |world| world.edit("{\"repo\":"), "Invalid JSON: "),
    ("no object", |world| world.edit("[1]"), "The status must be a JSON object"),
    ("another type", |world| world.edit(r#"{"repo":1}"#), "Field \\\"repo\\\" must be a string or null"),
    ("empty", |world| world.edit(""), "The status is empty; expected a JSON object"),
    ("oversize", |world| world.edit(&" ".repeat(65_537)), "The status is 65537 bytes; the limit is 65536"),
    ("removed", |world| fs::remove_file(&world.seed).unwrap(), "No such file or directory (os error 2)"),
    (
        "a directory",
        |world| {
            fs::remove_file(&world.seed).unwrap();
            fs::create_dir(&world.seed).unwrap();
        },
        "not a regular file",
    ),
    (
        "a broken link",
        |world| {
            fs::remove_file(&world.seed).unwrap();
            std::os::unix::fs::symlink("nowhere", &world.seed).unwrap();
        },
        "No such file or directory (os error 2)",
    ),
];

/// Removes whatever is in the place of the seed.
fn clear(world: &World) {
    let _ = fs::remove_dir(&world.seed);
    let _ = fs::remove_file(&world.seed);
}

#[test]
fn an_invalid_edit_is_told_once_with_a_count_and_the_old_status_stays_until_a_valid_one() {
    both(|with_state| {
        for posted in [false, true] {
            let world = World::new(A, with_state);
            for (number, (name, spoil, reason)) in SPOILINGS.into_iter().enumerate() {
                let before = if posted {
                    world.post(POSTED);
                    POSTED.to_owned()
                } else {
                    world.status()
                };
                spoil(&world);
                for _ in 0..10 {
                    assert_eq!(world.status(), before, "{name}");
                    assert_eq!(world.server().get("/ready").code, 200, "{name}");
                }
                let log = world.log();
                assert_eq!(world.refused(), number + 1, "{name}: {log}");
                let line = log.lines().rfind(|line| line.contains("is refused")).unwrap();
                let expected = format!("{}: {reason}", "is refused and the old status stays");
                assert!(line.contains(&expected), "{name}: {line}");
                assert!(line.ends_with(&format!("({} refused)", number + 1)), "{name}: {line}");
                // A post is as good as ever.
                world.post(POSTED_LATER);
                assert_eq!(world.status(), POSTED_LATER);
                clear(&world);
                let next = format!(r#"{{"repo":"behind {name}"}}"#);
                world.edit_by_rename(&next);
                assert_eq!(world.status(), next, "{name}");
                assert_eq!(world.taken(), number + 2);
                assert_eq!(world.refused(), number + 1, "{name}");
            }
        }
    });
}

#[test]
fn an_invalid_edit_that_is_taken_back_is_no_edit() {
    both(|with_state| {
        let world = World::new(A, with_state);
        world.post(POSTED);
        for (name, spoil, _) in SPOILINGS {
            spoil(&world);
            assert_eq!(world.status(), POSTED, "{name}");
            clear(&world);
            world.edit_by_rename(A);
            assert_eq!(world.status(), POSTED, "{name}: {}", world.log());
        }
        assert_eq!(world.taken(), 1);
        assert_eq!(world.refused(), SPOILINGS.len());
    });
}

#[test]
fn with_an_invalid_seed_a_server_that_has_a_state_starts_and_takes_the_next_valid_one() {
    for (name, spoil, reason) in SPOILINGS {
        let mut world = World::new(A, true);
        world.post(POSTED);
        world.kill();
        spoil(&world);
        world.start();
        assert_eq!(world.status(), POSTED, "{name}");
        assert_eq!(world.refused(), 1, "{name}: {}", world.log());
        assert!(world.log().contains(reason), "{name}: {}", world.log());
        clear(&world);
        world.edit_by_rename(A);
        assert_eq!(world.status(), POSTED, "{name}: {}", world.log());
        world.edit_by_rename(B);
        assert_eq!(world.status(), B, "{name}: {}", world.log());
        assert_eq!(world.refused(), 1, "{name}: {}", world.log());
    }
}

#[test]
fn with_an_invalid_seed_and_no_state_a_server_does_not_start_and_names_the_file() {
    both(|with_state| {
        for (name, spoil, reason) in SPOILINGS {
            let mut world = World::new(A, false);
            world.kill();
            spoil(&world);
            world.with_state = with_state;
            let finished = finish(program().args(["--listen", "127.0.0.1:0"]).args(world.arguments()));
            assert_eq!(finished.code, Some(1), "{name}: {}", finished.stderr);
            // This is no line of the log, so nothing is escaped.
            let reason = reason.replace('\\', "");
            assert!(
                finished.stderr.contains(&format!("seed file {}: {reason}", world.seed)),
                "{name}: {}",
                finished.stderr
            );
            // Nothing is left behind that would win later.
            assert!(!fs::exists(world.dir.path("state/status.json")).unwrap(), "{name}");
            clear(&world);
            world.edit_by_rename(B);
            world.start();
            assert_eq!(world.status(), B, "{name}");
        }
    });
}

#[test]
fn a_state_directory_that_comes_later_begins_with_the_seed() {
    let mut world = World::new(A, false);
    world.post(POSTED);
    world.with_state = true;
    world.restart();
    assert_eq!(world.status(), A);
    world.post(POSTED);
    world.restart();
    assert_eq!(world.status(), POSTED);
}

#[test]
fn a_seed_that_comes_later_does_not_win_over_the_state_until_it_is_edited() {
    let mut world = World::new(A, true);
    world.kill();
    fs::remove_dir_all(world.dir.path("state")).unwrap();
    world.with_seed = false;
    world.start();
    world.post(POSTED);
    world.with_seed = true;
    for _ in 0..2 {
        world.restart();
        assert_eq!(world.status(), POSTED, "{}", world.log());
        assert_eq!(world.taken(), 0);
    }
    world.edit(B);
    assert_eq!(world.status(), B);
    world.post(POSTED_LATER);
    world.kill();
    world.edit(C);
    world.start();
    assert_eq!(world.status(), C);
}

#[test]
fn a_seed_that_comes_later_is_taken_if_it_is_edited_before_the_next_start() {
    let mut world = World::new(A, true);
    world.kill();
    fs::remove_dir_all(world.dir.path("state")).unwrap();
    world.with_seed = false;
    world.start();
    world.post(POSTED);
    world.with_seed = true;
    world.restart();
    assert_eq!(world.status(), POSTED);
    world.kill();
    world.edit(B);
    world.start();
    assert_eq!(world.status(), B, "{}", world.log());
}

#[test]
fn the_log_tells_where_a_status_came_from() {
    let mut world = World::new(A, true);
    let state = world.dir.path("state/status.json");
    let seed_line = |world: &World, content: &str| format!(" info seed file {}: {} bytes\n", world.seed, content.len());
    let state_line = |content: &str| format!(" info state {state}: {} bytes\n", content.len());
    let log = world.log();
    assert!(log.contains(&seed_line(&world, A)) && log.contains(&format!(" info state {state}: none yet\n")), "{log}");
    assert_eq!(log.matches(" info state ").count(), 1, "{log}");
    world.post(POSTED);
    let log = world.log();
    assert!(log.contains("accepted status peer="), "{log}");
    assert!(log.contains(&format!(" bytes={}", POSTED.len())), "{log}");

    world.restart();
    let log = world.log();
    assert!(log.contains(&state_line(POSTED)) && !log.contains(" seed file "), "{log}");
    fs::write(&state, r#"{"repo":"by hand"}"#).unwrap();
    assert_eq!(world.status(), r#"{"repo":"by hand"}"#);
    assert!(world.log().contains(&state_line(r#"{"repo":"by hand"}"#)), "{}", world.log());
    fs::write(&state, "by hand").unwrap();
    assert_eq!(world.status(), r#"{"repo":"by hand"}"#);
    let refused = format!(" error state {state} is refused and the old status stays: Invalid JSON: ");
    assert_eq!(world.log().matches(&refused).count(), 1, "{}", world.log());
    world.edit(B);
    assert_eq!(world.status(), B);
    assert!(world.log().contains(&seed_line(&world, B)), "{}", world.log());
    assert_eq!(world.taken(), 1);
}

#[test]
fn every_line_of_the_log_is_json_whatever_the_files_are_called() {
    let dir = TemporaryDir::in_memory();
    let hostile = "a \"b\" \\ \n{\"c\":1} \u{1f980}\u{202e}";
    fs::create_dir(dir.path(hostile)).unwrap();
    let seed = dir.file(&format!("{hostile}/seed"), A.as_bytes());
    let state = dir.path(&format!("{hostile}/state"));
    let arguments =
        ["--refresh-ms", "0", "--log-format", "json", "--log", "access", "--seed-file", &seed, "--state-dir", &state];
    let lines = |log: &str| {
        let parse =
            |line| serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        log.lines().map(parse).map(|line| line["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let server = Server::start(&arguments);
    fs::write(&seed, "\"\n").unwrap();
    assert_eq!(server.get("/status.json").text(), A);
    fs::write(format!("{state}/status.json"), "{\"\n\"}").unwrap();
    assert_eq!(server.get("/status.json").text(), A);
    assert_eq!(server.post(POSTED.as_bytes()).code, 200);
    fs::remove_file(format!("{state}/status.json")).unwrap();
    assert_eq!(server.get("/status.json").text(), POSTED);
    fs::rename(&state, format!("{state}2")).unwrap();
    assert_eq!(server.post(B.as_bytes()).code, 503);
    fs::rename(format!("{state}2"), &state).unwrap();
    assert_eq!(server.get("/status.json").text(), POSTED);
    server.signal(Signal::TERM);
    let (_, log) = server.wait();
    let told = lines(&log);
    for part in [
        "seed file ",
        "is refused and the old status stays: ",
        "status.json is refused and the old status stays: ",
        "status.json was gone and is written anew",
        ": usable again",
        "stopped",
    ] {
        assert!(told.iter().any(|line| line.contains(part)), "{part}: {log}");
    }

    fs::write(format!("{state}/status.json"), "garbage").unwrap();
    fs::write(&seed, C).unwrap();
    let server = Server::start(&arguments);
    let log = server.log();
    assert!(lines(&log).iter().any(|line| line.contains("is no status, and is ")), "{log}");
    drop(server);

    // Not even a name that is no text breaks a line.
    let bytes = [dir.path("x").as_bytes(), b"\xff\n\x1b[2J.json"].concat();
    let seed = OsStr::from_bytes(&bytes);
    fs::write(seed, A).unwrap();
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--log-format", "json", "--seed-file"]).arg(seed);
    let server = Server::start_with(&mut command);
    assert!(lines(&server.log()).iter().any(|line| line.starts_with("seed file ")), "{}", server.log());
}

// -------------------------------------------------------------------------------------------------------- what it costs

#[test]
fn without_files_there_is_no_second_thread() {
    let server = Server::start(&[]);
    for _ in 0..10 {
        assert_eq!(server.get("/status.json").code, 200);
        assert_eq!(server.post(A.as_bytes()).code, 200);
    }
    server.signal(Signal::HUP);
    server.wait_for_log("SIGHUP: nothing to do");
    let threads = threads(server.pid());
    assert_eq!(threads.len(), 1, "{threads:?}");
    assert!(PROGRAM.contains(&threads[0].1), "{threads:?}");
}

#[test]
fn gets_wake_the_thread_for_files_at_most_once_in_refresh_ms() {
    let get = |server: &Server, count: usize| {
        let mut client = server.connect();
        let responses: Vec<Response> = (0..count).map(|_| client.get("/status.json")).collect();
        responses.iter().for_each(|response| assert_eq!(response.code, 200));
    };
    both(|with_state| {
        let world = World::with_refresh(A, with_state, 60_000);
        let task = world.server().store_thread();
        let before = world.server().sleeps(task);
        get(world.server(), 1000);
        assert_eq!(world.server().sleeps(task), before, "nothing is looked at before 60 s are over");

        let world = World::with_refresh(A, with_state, 100);
        let task = world.server().store_thread();
        get(world.server(), 1);
        let (before, begun) = (world.server().sleeps(task), Instant::now());
        while begun.elapsed() < Duration::from_millis(500) {
            get(world.server(), 20);
        }
        let looks = world.server().sleeps(task) - before;
        let most = 1 + begun.elapsed().as_millis() as u64 / 100;
        // It may have had to wait for a lock as well, once for each look, though that is rare.
        assert!((2..=2 * most).contains(&looks), "{looks} times within {:?}", begun.elapsed());
    });
}

#[test]
fn a_look_at_files_that_nobody_changes_reads_none() {
    let world = World::new(A, true);
    world.post(POSTED);
    let written = fs::metadata(world.dir.path("state/status.json")).unwrap();
    let written = Duration::new(written.ctime() as u64, written.ctime_nsec() as u32);
    // Within two seconds another writer may have given a file the same times.
    wait_until(|| SystemTime::UNIX_EPOCH.elapsed().unwrap() > written + Duration::from_millis(2_050));
    assert_eq!(world.status(), POSTED);
    let (pid, task) = (world.server().pid(), world.server().store_thread());
    let reads = || task_counter(pid, task, "io", "syscr");
    let (before, asleep) = (reads(), world.server().sleeps(task));
    for _ in 0..50 {
        assert_eq!(world.status(), POSTED);
    }
    assert!(world.server().sleeps(task) > asleep, "they were looks");
    assert_eq!(reads(), before, "no file was read");
    // That reads are counted at all is seen here.
    world.edit(B);
    assert_eq!(world.status(), B);
    assert!(reads() > before);
}

#[test]
fn an_idle_server_with_files_does_not_wake_up() {
    both(|with_state| {
        let world = World::with_refresh(A, with_state, 0);
        world.post(POSTED);
        let server = world.server();
        let all = || threads(server.pid()).iter().map(|(task, _)| server.sleeps(*task)).collect::<Vec<_>>();
        // It has gone to sleep after the last request when its counts rest.
        let mut before = all();
        wait_until(|| {
            thread::sleep(Duration::from_millis(50));
            let now = all();
            std::mem::replace(&mut before, now) == before
        });
        thread::sleep(Duration::from_secs(1));
        assert_eq!(all(), before);
    });
}
