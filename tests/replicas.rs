//! Several servers on one state directory: what one was told, all tell; what is there is always whole and one of what was
//! posted; and who goes away or comes back takes nothing with it.
//!
//! What a load proves is judged when it is over, from the times that clients saw. A status is *outdated* for a question
//! if another one was begun after that one was acknowledged, and was itself acknowledged more than `--refresh-ms` before
//! the question was sent. No answer is ever outdated. An edit of a seed counts as a post that is acknowledged when it is
//! written.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{Client, ConfigMap, PATIENCE, Response, Server, TemporaryDir, UNKNOWN, post_request};
use gitops_status_server::connection::LOOK_PATIENCE_MS;
use random::Random;
use std::collections::HashMap;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const COUNTS: [usize; 3] = [2, 3, 8];

/// How long each load lasts.
const LOAD: Duration = Duration::from_millis(1200);

/// How long a client thinks between two questions, so that there is something left for the servers of a small machine.
const PACE: Duration = Duration::from_millis(1);

/// The number of the poster that edits seeds.
const EDITOR: u32 = 99;

fn start(state: &str, refresh: u64, more: &[&str]) -> Server {
    Server::start(&[&["--state-dir", state, "--refresh-ms", &refresh.to_string()], more].concat())
}

fn start_all(count: usize, state: &str, refresh: u64, more: &[&str]) -> Vec<Server> {
    thread::scope(|scope| {
        let started: Vec<_> = (0..count).map(|_| scope.spawn(|| start(state, refresh, more))).collect();
        started.into_iter().map(|server| server.join().unwrap()).collect()
    })
}

/// Who posted a status, and how many it had posted before.
type Id = (u32, u32);

/// A status that says whose it is, in each part of it: every 16th byte of its filling is at a place of its own.
fn status((poster, number): Id) -> Vec<u8> {
    let mut random = Random(u64::from(poster) << 32 | u64::from(number));
    let pieces = if random.below(8) == 0 { random.below(3_700) } else { random.below(40) };
    let mut text = format!(r#"{{"repo":"{poster}/{number}","fill":""#);
    for piece in 0..pieces {
        text.push_str(&format!("{poster:02}.{number:06}.{piece:06}"));
    }
    text.push_str("\"}");
    text.into_bytes()
}

/// Whose status this is. It is whole, or this fails.
fn id_of(content: &[u8]) -> Id {
    if content == UNKNOWN.as_bytes() {
        return (0, 0);
    }
    let text = std::str::from_utf8(content).expect("a status is text");
    let name = text.strip_prefix(r#"{"repo":""#).and_then(|rest| rest.split('"').next());
    let (poster, number) = name.and_then(|name| name.split_once('/')).unwrap_or_else(|| panic!("{text:.80}"));
    let id = (poster.parse().unwrap(), number.parse().unwrap());
    assert!(content == status(id), "{id:?} is not whole: {} bytes", content.len());
    id
}

/// A status was posted, or the seed edited.
#[derive(Debug, Clone, Copy)]
struct Post {
    id: Id,
    begun: Instant,
    /// When it was acknowledged, if it was.
    done: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Answer {
    id: Id,
    sent: Instant,
    received: Instant,
}

impl Answer {
    /// Whether the server may have given up waiting for its files: then it tells what it saw last, which proves nothing.
    fn is_slow(&self) -> bool {
        self.received - self.sent >= Duration::from_millis(LOOK_PATIENCE_MS)
    }
}

/// What clients did and saw.
struct History {
    posts: Vec<Post>,
    /// The answers of each connection, in their order.
    answers: Vec<Vec<Answer>>,
}

impl History {
    fn new() -> History {
        let start = Instant::now();
        // As the servers begin.
        History { posts: vec![Post { id: (0, 0), begun: start, done: Some(start) }], answers: Vec::new() }
    }

    /// Asserts that no answer is outdated, or goes back, or comes from nowhere; and that there were some.
    fn judge(&self, refresh: u64) {
        let answers: usize = self.answers.iter().map(Vec::len).sum();
        assert!(self.posts.len() > 10 && answers > 10, "{} posts, {answers} answers", self.posts.len());
        let refresh = Duration::from_millis(refresh);
        let posts: HashMap<Id, Post> = self.posts.iter().map(|post| (post.id, *post)).collect();
        let mut acknowledged: Vec<Post> = self.posts.iter().filter(|post| post.done.is_some()).copied().collect();
        acknowledged.sort_by_key(|post| post.done);
        // Of the first so many that were acknowledged, the one that was begun last.
        let mut latest = acknowledged.clone();
        for at in 1..latest.len() {
            if latest[at - 1].begun > latest[at].begun {
                latest[at] = latest[at - 1];
            }
        }
        for answers in &self.answers {
            let mut newest = HashMap::<u32, u32>::new();
            let mut slow = false;
            for answer in answers {
                let &Answer { id, sent, received } = answer;
                let post = posts.get(&id).unwrap_or_else(|| panic!("nobody posted {id:?}"));
                assert!(post.begun <= received, "{id:?} was served before it was posted");
                let known = acknowledged.partition_point(|post| post.done.is_some_and(|done| done + refresh < sent));
                let winner = known.checked_sub(1).map(|last| latest[last]);
                let outdated = winner.filter(|winner| post.done.is_some_and(|done| winner.begun > done));
                let is_slow = answer.is_slow();
                // Until its files answer again, it does not wait for them.
                slow = is_slow || slow && outdated.is_some();
                if let (Some(winner), false) = (outdated, slow) {
                    panic!("{answer:?} {post:?} is outdated by {winner:?}");
                }
                let newest = newest.entry(id.0).or_default();
                assert!(id.1 >= *newest, "{id:?} came behind {newest} of the same poster");
                *newest = id.1;
            }
        }
    }
}

/// Whose status a connection is answered with.
fn ask(client: &mut Client) -> (Answer, Response) {
    let sent = Instant::now();
    let response = client.get("/status.json");
    assert_eq!(response.code, 200, "{}", response.text());
    (Answer { id: id_of(&response.content), sent, received: Instant::now() }, response)
}

/// Posts one status after the other until `end`, each to the replica that `pick` names; all are accepted.
fn post_until(
    end: &AtomicBool,
    replicas: &[Server],
    poster: u32,
    mut pick: impl FnMut(u32) -> usize,
    pace: Duration,
) -> Vec<Post> {
    let mut clients: Vec<_> = replicas.iter().map(Server::connect).collect();
    let mut posts = Vec::new();
    while !end.load(Ordering::Relaxed) {
        let id = (poster, posts.len() as u32 + 1);
        let status = status(id);
        let begun = Instant::now();
        let response = clients[pick(id.1)].post(&status);
        assert_eq!(response.code, 200, "{id:?}: {}", response.text());
        posts.push(Post { id, begun, done: Some(Instant::now()) });
        thread::sleep(pace);
    }
    posts
}

/// Asks one replica until `end`, on one connection.
fn ask_until(end: &AtomicBool, replica: &Server) -> Vec<Answer> {
    let mut client = replica.connect();
    let mut answers = Vec::new();
    while !end.load(Ordering::Relaxed) {
        answers.push(ask(&mut client).0);
        thread::sleep(PACE);
    }
    answers
}

/// Lets posters and getters work on all replicas for a while, and one more thing; gives what they saw.
fn under_load(
    replicas: &[Server],
    posters: Range<u32>,
    in_turn: bool,
    pace: Duration,
    also: impl FnOnce(&AtomicBool, &mut History) + Send,
) -> History {
    under_load_until(replicas, posters, in_turn, pace, |end, _, history| also(end, history), 0)
}

/// The same, and it goes on until `also` has counted to `least`.
fn under_load_until(
    replicas: &[Server],
    posters: Range<u32>,
    in_turn: bool,
    pace: Duration,
    also: impl FnOnce(&AtomicBool, &AtomicU32, &mut History) + Send,
    least: u32,
) -> History {
    let end = AtomicBool::new(false);
    let done = AtomicU32::new(0);
    let mut history = History::new();
    let (posts, answers) = thread::scope(|scope| {
        let posting: Vec<_> = posters
            .map(|poster| {
                let mut random = Random(u64::from(poster));
                let pick = move |number| match in_turn {
                    true => number as usize % replicas.len(),
                    false => random.below(replicas.len()),
                };
                let end = &end;
                scope.spawn(move || post_until(end, replicas, poster, pick, pace))
            })
            .collect();
        let asking: Vec<_> = replicas
            .iter()
            .map(|replica| {
                let end = &end;
                scope.spawn(move || ask_until(end, replica))
            })
            .collect();
        let also = scope.spawn(|| also(&end, &done, &mut history));
        let begun = Instant::now();
        // Who fails ends it for all.
        let failed =
            || posting.iter().any(|thread| thread.is_finished()) || asking.iter().any(|thread| thread.is_finished());
        let short = || done.load(Ordering::Relaxed) < least && !also.is_finished();
        while (begun.elapsed() < LOAD || short()) && !failed() {
            thread::sleep(PACE);
        }
        end.store(true, Ordering::Relaxed);
        also.join().unwrap();
        let posts: Vec<_> = posting.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let answers: Vec<_> = asking.into_iter().map(|thread| thread.join().unwrap()).collect();
        (posts, answers)
    });
    history.posts.extend(posts);
    history.answers.extend(answers);
    history
}

fn nothing_else(_: &AtomicBool, _: &mut History) {}

/// Asserts that all replicas serve the same status, which is that of the state file; gives it.
fn assert_all_agree(replicas: &[Server], state: &str) -> Id {
    let kept = fs::read(format!("{state}/status.json")).expect("there is a state");
    let mut tags = Vec::new();
    for replica in replicas {
        let mut client = replica.connect();
        let (mut answer, mut response) = ask(&mut client);
        while answer.is_slow() {
            settle(replica);
            (answer, response) = ask(&mut client);
        }
        assert_eq!(answer.id, id_of(&kept), "{}", replica.log());
        tags.push(response.field("ETag").expect("a status has a tag").to_owned());
    }
    tags.dedup();
    assert_eq!(tags.len(), 1);
    id_of(&kept)
}

/// Waits until the files of a replica answer.
fn settle(replica: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while replica.get("/ready").code != 200 {
        assert!(Instant::now() < deadline, "{}", replica.log());
        thread::sleep(PACE);
    }
}

fn wait_refresh(since: Instant, refresh: u64) {
    // The servers count whole milliseconds.
    let until = since + Duration::from_millis(refresh + 1);
    thread::sleep(until.saturating_duration_since(Instant::now()));
}

fn temporary_files(state: &str) -> Vec<String> {
    let names = fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".tmp")).collect()
}

fn each_count(test: impl Fn(usize) + Sync) {
    for count in COUNTS {
        test(count);
    }
}

fn each_count_at_once(test: impl Fn(usize) + Sync) {
    at_once(&COUNTS, |&count| test(count));
}

fn at_once<C: Sync>(cases: &[C], test: impl Fn(&C) + Sync) {
    thread::scope(|scope| {
        for case in cases {
            let test = &test;
            scope.spawn(move || test(case));
        }
    });
}

/// Posts to one after the other, and asks all others as soon as they have to know.
fn posts_are_served_by_all(count: usize, refresh: u64, rounds: u32) {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let replicas = start_all(count, &state, refresh, &[]);
    for number in 1..=rounds {
        let poster = number as usize % count;
        // All have looked just now, so they have no other reason to look again than that the time is over.
        replicas.iter().for_each(|replica| assert_eq!(replica.get("/status.json").code, 200));
        let response = replicas[poster].post(&status((1, number)));
        let acknowledged = Instant::now();
        assert_eq!(response.code, 200, "{}", response.text());
        // Who took it needs no time.
        assert_eq!(ask(&mut replicas[poster].connect()).0.id, (1, number));
        wait_refresh(acknowledged, refresh);
        assert_eq!(assert_all_agree(&replicas, &state), (1, number));
    }
}

#[test]
fn with_refresh_0_a_post_to_one_replica_is_served_by_all_others_at_once() {
    each_count(|count| posts_are_served_by_all(count, 0, 40));
}

#[test]
fn a_post_to_one_replica_is_served_by_all_others_within_100_ms() {
    each_count_at_once(|count| posts_are_served_by_all(count, 100, 8));
}

#[test]
fn a_post_to_one_replica_is_served_by_all_others_within_a_second() {
    each_count_at_once(|count| posts_are_served_by_all(count, 1000, 2));
}

/// One poster that goes round the replicas: the numbers of its statuses never go down.
fn one_poster(count: usize, refresh: u64) {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let replicas = start_all(count, &state, refresh, &[]);
    let history = under_load(&replicas, 1..2, true, Duration::ZERO, nothing_else);
    history.judge(refresh);
    wait_refresh(Instant::now(), refresh);
    let last = history.posts.iter().map(|post| post.id).max().unwrap();
    assert_eq!(assert_all_agree(&replicas, &state), last);
}

#[test]
fn what_a_replica_tells_of_one_poster_never_goes_back_and_is_never_older_than_refresh_ms() {
    at_once(&[(2, 0), (3, 100), (2, 1000)], |&(count, refresh)| one_poster(count, refresh));
    one_poster(8, 100);
}

/// Several posters to replicas as it comes.
fn many_posters(count: usize, refresh: u64) {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let replicas = start_all(count, &state, refresh, &[]);
    let history = under_load(&replicas, 1..4, false, PACE, nothing_else);
    history.judge(refresh);
    wait_refresh(Instant::now(), refresh);
    assert_all_agree(&replicas, &state);
    assert_eq!(temporary_files(&state), [""; 0]);
    for replica in &replicas {
        let log = replica.log();
        assert!(!log.contains(" error "), "{log}");
    }
}

#[test]
fn under_mixed_load_two_replicas_serve_whole_statuses_that_are_not_outdated() {
    at_once(&[0, 100, 1000], |&refresh| many_posters(2, refresh));
}

#[test]
fn under_mixed_load_three_replicas_serve_whole_statuses_that_are_not_outdated() {
    at_once(&[0, 100, 1000], |&refresh| many_posters(3, refresh));
}

#[test]
fn under_mixed_load_eight_replicas_serve_whole_statuses_that_are_not_outdated() {
    [0, 100, 1000].into_iter().for_each(|refresh| many_posters(8, refresh));
}

/// Each replica is posted a status of its own, all at the same moment, and of the same size.
fn posts_at_the_same_moment(count: usize, refresh: u64, rounds: u32, dir: &TemporaryDir) {
    let state = dir.path("state");
    let replicas = start_all(count, &state, refresh, &[]);
    let text = |poster: usize, round: u32| format!(r#"{{"repo":"{poster}/{round:04}","server":"simultaneous"}}"#);
    for round in 1..=rounds {
        let barrier = Barrier::new(count);
        thread::scope(|scope| {
            for (poster, replica) in replicas.iter().enumerate() {
                let barrier = &barrier;
                scope.spawn(move || {
                    let mut client = replica.connect();
                    barrier.wait();
                    let response = client.post(text(poster, round).as_bytes());
                    assert_eq!(response.code, 200, "{}", response.text());
                });
            }
        });
        wait_refresh(Instant::now(), refresh);
        let kept = fs::read_to_string(format!("{state}/status.json")).unwrap();
        assert!((0..count).any(|poster| kept == text(poster, round)), "{kept}");
        for replica in &replicas {
            assert_eq!(replica.get("/status.json").text(), kept, "in round {round}: {}", replica.log());
        }
    }
    assert_eq!(temporary_files(&state), [""; 0]);
}

#[test]
fn of_posts_at_the_same_moment_one_is_served_by_all_in_the_end() {
    each_count(|count| posts_at_the_same_moment(count, 0, 40, &TemporaryDir::in_memory()));
    each_count_at_once(|count| posts_at_the_same_moment(count, 100, 6, &TemporaryDir::in_memory()));
    each_count_at_once(|count| posts_at_the_same_moment(count, 1000, 1, &TemporaryDir::in_memory()));
}

#[test]
fn of_posts_at_the_same_moment_one_is_served_by_all_in_the_end_on_a_disk_too() {
    each_count(|count| posts_at_the_same_moment(count, 0, 10, &TemporaryDir::new()));
}

/// Kills one replica at any moment, under a post of its own, and starts it again, over and over.
fn kill_and_restart(end: &AtomicBool, kills: &AtomicU32, history: &mut History, state: &str, refresh: u64) {
    let mut random = Random(7);
    let mut number = 0;
    while !end.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let server = start(state, refresh, &[]);
        let (answer, _) = ask(&mut server.connect());
        // It has read what there was when it was started, or later.
        let answer = Answer { sent: begun + Duration::from_millis(refresh), ..answer };
        history.answers.push(vec![answer]);
        number += 1;
        let id = (50, number);
        let mut client = server.connect();
        let begun = Instant::now();
        client.send(&post_request(&status(id)));
        thread::sleep(Duration::from_micros(random.below(6_000) as u64));
        drop(server);
        // What came before it was killed. A reset may have taken it away, and then nobody knows.
        let mut told = [0; 12];
        let acknowledged = client.stream().read_exact(&mut told).is_ok() && told == *b"HTTP/1.1 200";
        history.posts.push(Post { id, begun, done: acknowledged.then(Instant::now) });
        kills.store(number, Ordering::Relaxed);
    }
    assert!(number > 3, "it was killed {number} times");
}

fn kills(others: usize, refresh: u64) {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let replicas = start_all(others, &state, refresh, &[]);
    let killing = |end: &_, kills: &_, history: &mut _| kill_and_restart(end, kills, history, &state, refresh);
    let history = under_load_until(&replicas, 1..3, false, PACE, killing, 4);
    history.judge(refresh);
    wait_refresh(Instant::now(), refresh);
    assert_all_agree(&replicas, &state);
    for replica in &replicas {
        assert!(!replica.log().contains(" error "), "{}", replica.log());
    }
    drop(replicas);
    // What the last kill has left.
    dir.file("state/.gitops-status-server-0123456789abcdef.tmp", b"{\"half");
    let replicas = start_all(1, &state, refresh, &[]);
    assert_all_agree(&replicas, &state);
    assert_eq!(temporary_files(&state), [""; 0]);
}

#[test]
fn a_replica_that_is_killed_and_restarted_under_load_is_current_and_no_post_to_the_others_is_refused() {
    at_once(&[(1, 0), (2, 100), (2, 1000)], |&(others, refresh)| kills(others, refresh));
    kills(7, 0);
}

fn taken(replicas: &[Server]) -> usize {
    replicas.iter().map(|replica| replica.whole_log().matches(" info seed file ").count()).sum()
}

/// Edits the seed of all replicas, in place or as kubelet does, while posts go on.
fn edits_under_load(count: usize, refresh: u64) {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let mut map = ConfigMap::new(dir.path("map"), &status((EDITOR, 1)));
    let path = map.path();
    let replicas = start_all(count, &state, refresh, &["--seed-file", &path]);
    let history = under_load(&replicas, 1..3, false, Duration::from_millis(5), |end, history| {
        history.posts[0].id = (EDITOR, 1);
        for number in 2.. {
            if end.load(Ordering::Relaxed) {
                break;
            }
            let id = (EDITOR, number);
            let content = status(id);
            let begun = Instant::now();
            match number % 2 {
                0 => map.swap(&content),
                _ => fs::write(&path, &content).unwrap(),
            }
            history.posts.push(Post { id, begun, done: Some(Instant::now()) });
            thread::sleep(Duration::from_millis(40));
        }
    });
    history.judge(refresh);
    wait_refresh(Instant::now(), refresh);
    // Nobody may have asked since the last edit.
    ask(&mut replicas[0].connect());
    wait_refresh(Instant::now(), refresh);
    assert_all_agree(&replicas, &state);
    let seen = history.answers.iter().flatten().filter(|answer| answer.id.0 == EDITOR).count();
    assert!(seen > 0, "no edit was ever seen");
}

#[test]
fn edits_of_the_seed_of_all_replicas_and_posts_win_in_the_order_in_which_they_happen() {
    at_once(&[(2, 0), (3, 100), (2, 1000)], |&(count, refresh)| edits_under_load(count, refresh));
    edits_under_load(8, 0);
}

#[test]
fn an_edit_is_taken_once_over_all_replicas_and_a_post_after_it_wins_on_all() {
    each_count(|count| {
        let dir = TemporaryDir::in_memory();
        let state = dir.path("state");
        let mut map = ConfigMap::new(dir.path("map"), &status((EDITOR, 1)));
        let path = map.path();
        let mut replicas = vec![start(&state, 0, &["--seed-file", &path])];
        replicas.extend(start_all(count - 1, &state, 0, &["--seed-file", &path]));
        assert_eq!(taken(&replicas), 1);
        for number in 2..10 {
            match number % 2 {
                0 => map.swap(&status((EDITOR, number))),
                _ => fs::write(&path, status((EDITOR, number))).unwrap(),
            }
            replicas.rotate_left(1);
            assert_eq!(ask(&mut replicas[0].connect()).0.id, (EDITOR, number));
            assert_eq!(assert_all_agree(&replicas, &state), (EDITOR, number));
            assert_eq!(taken(&replicas), number as usize);
            assert_eq!(replicas[1].post(&status((1, number))).code, 200);
            assert_eq!(assert_all_agree(&replicas, &state), (1, number));
            assert_eq!(taken(&replicas), number as usize);
        }
    });
}

/// All replicas see the same edit at the same moment, and one is posted to as soon as it has.
fn edit_seen_at_once(count: usize, rounds: u32, dir: &TemporaryDir) {
    let state = dir.path("state");
    let seed = dir.file("seed.json", &status((EDITOR, 1)));
    let mut replicas = vec![start(&state, 0, &["--seed-file", &seed])];
    replicas.extend(start_all(count - 1, &state, 0, &["--seed-file", &seed]));
    let (outdated, mut lost) = (AtomicUsize::new(0), 0);
    for round in 1..=rounds {
        let edit = (EDITOR, 1 + round);
        let post = (1, round);
        fs::rename(dir.file("new.json", &status(edit)), &seed).unwrap();
        let barrier = Barrier::new(count);
        thread::scope(|scope| {
            for (at, replica) in replicas.iter().enumerate() {
                let (barrier, outdated) = (&barrier, &outdated);
                scope.spawn(move || {
                    let mut client = replica.connect();
                    barrier.wait();
                    let answer = ask(&mut client).0;
                    if answer.is_slow() {
                        settle(replica);
                    } else {
                        outdated.fetch_add((![edit, post].contains(&answer.id)).into(), Ordering::Relaxed);
                    }
                    if at == 0 {
                        let response = client.post(&status(post));
                        assert_eq!(response.code, 200, "{}", response.text());
                    }
                });
            }
        });
        lost += u32::from(assert_all_agree(&replicas, &state) != post);
    }
    let taken = taken(&replicas) as u32 - 1;
    let outdated = outdated.into_inner();
    assert_eq!(
        (taken, outdated, lost),
        (rounds, 0, 0),
        "{count} replicas: of {rounds} edits; answers before them, posts that they win over"
    );
}

#[test]
fn an_edit_that_all_replicas_see_at_the_same_moment_is_taken_once() {
    each_count(|count| edit_seen_at_once(count, 40, &TemporaryDir::in_memory()));
}

#[test]
fn an_edit_that_all_replicas_see_at_the_same_moment_is_taken_once_on_a_disk_too() {
    each_count(|count| edit_seen_at_once(count, 15, &TemporaryDir::new()));
}

#[test]
fn an_edit_back_to_what_one_replica_saw_last_is_taken_though_only_another_one_saw_what_was_between() {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    let seed = dir.file("seed.json", &status((EDITOR, 1)));
    let [one, other] = [(); 2].map(|()| start(&state, 0, &["--seed-file", &seed]));
    assert_eq!(ask(&mut one.connect()).0.id, (EDITOR, 1));
    fs::write(&seed, status((EDITOR, 2))).unwrap();
    assert_eq!(ask(&mut other.connect()).0.id, (EDITOR, 2));
    fs::write(&seed, status((EDITOR, 1))).unwrap();
    assert_eq!(ask(&mut one.connect()).0.id, (EDITOR, 1), "{}", one.log());
    assert_eq!(ask(&mut other.connect()).0.id, (EDITOR, 1), "{}", other.log());
}

#[test]
fn a_post_to_another_replica_after_an_edit_that_this_one_starts_with_wins_over_it() {
    let dir = TemporaryDir::in_memory();
    let state = dir.path("state");
    // As in a roll-out: the new pod has its volume, and the old ones take posts until the image of the new one is there.
    let old = dir.file("old.json", &status((EDITOR, 1)));
    let replica = start(&state, 0, &["--seed-file", &old]);
    let new = dir.file("new.json", &status((EDITOR, 2)));
    // File systems tell times apart that are some milliseconds apart.
    thread::sleep(Duration::from_millis(30));
    assert_eq!(replica.post(&status((1, 1))).code, 200);
    let replicas = [replica, start(&state, 0, &["--seed-file", &new])];
    assert_eq!(assert_all_agree(&replicas, &state), (1, 1));
}

#[test]
fn a_roll_out_never_brings_the_old_seed_back_and_a_post_after_it_stays() {
    each_count(|count| {
        let dir = TemporaryDir::in_memory();
        let state = dir.path("state");
        let seed = |name: String, number| ConfigMap::new(dir.path(&name), &status((EDITOR, number)));
        // Each pod has a volume of its own.
        let pod = |map: &ConfigMap| start(&state, 0, &["--seed-file", &map.path()]);
        let old: Vec<_> = (0..count).map(|at| seed(format!("old{at}"), 1)).collect();
        let mut replicas: Vec<_> = old.iter().map(pod).collect();
        assert_eq!(assert_all_agree(&replicas, &state), (EDITOR, 1));
        assert_eq!(replicas[0].post(&status((1, 1))).code, 200);
        assert_eq!(assert_all_agree(&replicas, &state), (1, 1));

        let mut expected = (EDITOR, 2);
        let mut new = Vec::new();
        for at in 0..count {
            new.push(seed(format!("new{at}"), 2));
            replicas.push(pod(&new[at]));
            assert_eq!(assert_all_agree(&replicas, &state), expected);
            // An old one is killed, comes back in the same pod, and is killed for good.
            drop(replicas.remove(0));
            replicas.push(pod(&old[at]));
            assert_eq!(assert_all_agree(&replicas, &state), expected);
            drop(replicas.pop());
            // A new one is, too.
            drop(replicas.pop());
            replicas.push(pod(&new[at]));
            assert_eq!(assert_all_agree(&replicas, &state), expected);
            if at == count / 2 {
                expected = (1, 2);
                assert_eq!(replicas[at].post(&status(expected)).code, 200);
            }
        }
        expected = (1, 3);
        assert_eq!(replicas[0].post(&status(expected)).code, 200);
        for map in &new {
            drop(replicas.remove(0));
            replicas.push(pod(map));
            assert_eq!(assert_all_agree(&replicas, &state), expected);
        }
        drop(replicas);
        let replicas: Vec<_> = new.iter().map(pod).collect();
        assert_eq!(assert_all_agree(&replicas, &state), expected);
        assert_eq!(taken(&replicas), 0);
    });
}
