//! A status that was accepted stays, on real files with the real program: through kills at any moment and whatever
//! happens to the disk, and whoever else reads and writes its file.

mod common;
#[path = "common/random.rs"]
mod random;

use common::{PATIENCE, PROGRAM, Response, Server, Signal, TemporaryDir, UNKNOWN};
use common::{post_request, program, started_by, status_of};
use random::Random;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

const OLD: &[u8] = br#"{"repo":"old","sync_status":"SYNCED"}"#;
const NEW: &[u8] = br#"{"repo":"new","sync_status":"DRIFTED"}"#;

/// A server by `command` that keeps its statuses in `state`, and looks whenever it is asked.
fn serve(mut command: Command, state: &str, arguments: &[&str]) -> Server {
    let files = ["--listen", "127.0.0.1:0", "--refresh-ms", "0", "--state-dir", state];
    Server::start_with(command.args(files).args(arguments))
}

fn start(state: &str) -> Server {
    serve(program(), state, &[])
}

fn status_file(state: impl AsRef<Path>) -> PathBuf {
    state.as_ref().join("status.json")
}

/// What the state directory keeps.
fn stored(state: impl AsRef<Path>) -> Vec<u8> {
    fs::read(status_file(state)).expect("there is a state")
}

/// The names in a directory, in order.
fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("it is a directory");
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Ends a server as Kubernetes does; gives its whole log.
fn stop(server: Server) -> String {
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    log
}

/// The lines of `log` that hold `text`.
fn lines<'l>(log: &'l str, text: &str) -> Vec<&'l str> {
    log.lines().filter(|line| line.contains(text)).collect()
}

/// How long a request may wait for files, about; then it is answered without them.
const GIVES_UP: Duration = Duration::from_millis(450);

/// What a server says of itself, where it does not wait for a disk that others keep busy.
fn ready(server: &Server) -> Response {
    let begun = Instant::now();
    loop {
        let ready = server.get("/ready");
        if ready.code == 200 || !ready.message().ends_with("does not answer") || begun.elapsed() > PATIENCE {
            return ready;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// That the next one who asks is served this status. Where the disk is so busy that the server does not wait for it, the
/// one after.
fn serves(server: &Server, status: &[u8]) {
    let begun = Instant::now();
    let mut at_once = 0;
    loop {
        let asked = Instant::now();
        let served = server.get("/status.json").content;
        if served == status {
            return;
        }
        let slow = asked.elapsed() > GIVES_UP || server.get("/ready").text().contains("does not answer");
        // It may have answered in between.
        at_once += usize::from(!slow);
        assert!(at_once < 3 && begun.elapsed() < PATIENCE, "it serves {}\n{}", served.escape_ascii(), server.log());
    }
}

// Kills at any moment

const LANES: u64 = 4;
const KILLS: usize = 56;
const POSTERS: usize = 3;

/// The largest status that is posted under kills.
const LARGEST: usize = 60_000;

/// A status that nobody else posts, every byte of which follows from the number in it.
fn numbered(number: u64) -> Vec<u8> {
    static FILL: OnceLock<String> = OnceLock::new();
    let fill = FILL.get_or_init(|| {
        let mut random = Random(1);
        (0..2 * LARGEST).map(|_| char::from(b'a' + random.below(26) as u8)).collect()
    });
    let mut random = Random(number);
    let from = random.below(LARGEST);
    // Small ones, which come in one piece, as often as large ones.
    let most = random.pick(&[100, 5_000, LARGEST - 100]);
    let fill = &fill[from..from + random.below(most)];
    format!(r#"{{"number":{number},"fill":"{fill}","sync_status":"{number}"}}"#).into_bytes()
}

/// The number of such a status, which is whole.
fn number_of(status: &[u8]) -> u64 {
    let digits = status.strip_prefix(br#"{"number":"#).and_then(|rest| rest.split(|&byte| byte == b',').next());
    let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
    let number = number.unwrap_or_else(|| panic!("nobody has posted {}", status.escape_ascii()));
    assert!(status == numbered(number), "{number} is not whole: {}", status.escape_ascii());
    number
}

/// When a status was sent, and when somebody knew first that it was accepted.
struct Post {
    sent: u64,
    known: Option<u64>,
}

/// All statuses that may be the current one. Two are in order only when one was known before the other was sent.
#[derive(Default)]
struct Ledger {
    time: u64,
    last: u64,
    posts: BTreeMap<u64, Post>,
}

impl Ledger {
    fn tick(&mut self) -> u64 {
        self.time += 1;
        self.time
    }

    /// The next one to post.
    fn send(&mut self) -> u64 {
        let sent = self.tick();
        self.last += 1;
        self.posts.insert(self.last, Post { sent, known: None });
        self.last
    }

    /// Somebody has just been told that it is accepted: by the answer to its post, or because it was served.
    fn know(&mut self, number: u64) {
        let now = self.tick();
        self.posts.get_mut(&number).expect("it was posted").known.get_or_insert(now);
    }

    /// That what was served to who asked at `asked` is not older than what was known then.
    fn check(&self, number: u64, asked: u64) {
        let served = self.posts.get(&number).unwrap_or_else(|| panic!("{number} is long past, or was never posted"));
        let newer = self.posts.iter().find(|(_, post)| {
            post.known.is_some_and(|known| known < asked) && served.known.is_some_and(|known| known < post.sent)
        });
        assert!(newer.is_none(), "{number} was served though {} was known", newer.unwrap().0);
    }

    /// Behind a restart: only this one can be there. What was in flight and is not it has never been.
    fn restart(&mut self, number: Option<u64>) {
        let asked = self.tick();
        let Some(number) = number else {
            assert!(self.posts.values().all(|post| post.known.is_none()), "all is lost");
            return self.posts.clear();
        };
        self.check(number, asked);
        self.know(number);
        self.posts.retain(|&other, _| other == number);
    }
}

/// The content of the answer to a request; `None` when the server is gone.
fn exchange(stream: &mut TcpStream, request: &[u8]) -> Option<Vec<u8>> {
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    let mut buffer = [0; 65536];
    loop {
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = end.map(|end| std::str::from_utf8(&answer[..end + 4]).unwrap()) {
            assert!(head.starts_with("HTTP/1.1 200 "), "{}", answer.escape_ascii());
            let length = head.split("Content-Length: ").nth(1).unwrap().split('\r').next().unwrap();
            if answer.len() == head.len() + length.parse::<usize>().unwrap() {
                return Some(answer.split_off(head.len()));
            }
        }
        match stream.read(&mut buffer) {
            Ok(read) if read > 0 => answer.extend_from_slice(&buffer[..read]),
            _ => return None,
        }
    }
}

/// Posts, or gets, until the server is gone.
fn bother(address: SocketAddr, posts: bool, ledger: &Mutex<Ledger>) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    loop {
        if posts {
            let number = ledger.lock().unwrap().send();
            let Some(answer) = exchange(&mut stream, &post_request(&numbered(number))) else { return };
            assert!(answer.ends_with(&[&numbered(number)[..], b"}"].concat()));
            ledger.lock().unwrap().know(number);
        } else {
            let asked = ledger.lock().unwrap().tick();
            let request = b"GET /status.json HTTP/1.1\r\nHost: test\r\n\r\n";
            let Some(status) = exchange(&mut stream, request) else { return };
            if status != UNKNOWN.as_bytes() {
                let mut ledger = ledger.lock().unwrap();
                let number = number_of(&status);
                ledger.check(number, asked);
                ledger.know(number);
            }
        }
    }
}

/// Whether the name is one of a file that is being written, or was when a server was killed.
fn is_temporary(name: &str) -> bool {
    name.starts_with(".gitops-status-server-") && name.ends_with(".tmp")
}

/// Kills a server again and again; gives how often it was in the middle of a post.
fn kill_again_and_again(lane: u64) -> usize {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let umask = ["077", "000", "022", "027"][lane as usize % 4];
    let command = || {
        let mut command = started_by("sh");
        command.args(["-c", &format!("umask {umask} && exec \"$0\" \"$@\""), &PROGRAM]);
        command
    };
    let mut random = Random(lane);
    let ledger = Mutex::new(Ledger { last: lane << 32, ..Ledger::default() });
    let mut in_flight = 0;
    for kill in 0..=KILLS {
        let server = serve(command(), &state, &[]);
        let status = server.get("/status.json").content;
        let mut expected = Vec::new();
        if status == UNKNOWN.as_bytes() {
            ledger.lock().unwrap().restart(None);
        } else {
            ledger.lock().unwrap().restart(Some(number_of(&status)));
            assert!(stored(&state) == status, "what is served is not what is on disk");
            let file = fs::symlink_metadata(status_file(&state)).unwrap();
            assert!(file.is_file() && file.mode() & 0o7777 == 0o640, "umask {umask}: {:o}", file.mode());
            let directory = fs::metadata(&state).unwrap();
            assert_eq!((file.uid(), file.gid()), (geteuid().as_raw(), directory.gid()));
            expected.push("status.json");
        }
        // What was before the first status is nothing.
        assert_eq!(names(&state).iter().filter(|&name| name != "history").collect::<Vec<_>>(), expected);
        if kill == KILLS {
            assert!(!expected.is_empty(), "nothing was ever stored");
            break;
        }

        let begun = ledger.lock().unwrap().last;
        thread::scope(|scope| {
            for poster in 0..=POSTERS {
                let (address, ledger) = (server.address(), &ledger);
                scope.spawn(move || bother(address, poster > 0, ledger));
            }
            thread::sleep(Duration::from_micros(random.below(25_000) as u64));
            // Every other time in the middle of a file, if it can be met there.
            let begun = Instant::now();
            while kill % 2 == 0 && begun.elapsed() < Duration::from_millis(10) {
                if names(&state).iter().any(|name| is_temporary(name)) {
                    break;
                }
            }
            drop(server);
        });
        in_flight += usize::from(ledger.lock().unwrap().last > begun);
        if kill % 4 == 0 {
            // One that may not have come as far as to listen.
            let mut starting = command()
                .args(["--listen", "127.0.0.1:0", "--state-dir", &state])
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            thread::sleep(Duration::from_micros(random.below(12_000) as u64));
            starting.kill().unwrap();
            starting.wait().unwrap();
        }
    }
    in_flight
}

#[test]
fn whatever_the_moment_of_a_kill_what_was_accepted_is_served_again() {
    let in_flight: usize = thread::scope(|scope| {
        let lanes: Vec<_> = (0..LANES).map(|lane| scope.spawn(move || kill_again_and_again(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("it says why above")).sum()
    });
    // Else the kills came at moments at which nothing can happen.
    assert!(in_flight > LANES as usize * KILLS / 2, "only {in_flight} of the kills met a post");
}

#[test]
fn only_what_an_earlier_server_left_is_removed_at_the_start() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    fs::create_dir(&state).unwrap();
    let write = |name: &str| fs::write(Path::new(&state).join(name), name).unwrap();
    let others =
        [".gitops-status-server", ".hidden.tmp", "other.json", "status.json.tmp", "x.gitops-status-server-1.tmp"];
    others.iter().for_each(|name| write(name));
    [".gitops-status-server-1.tmp", ".gitops-status-server-0123456789abcdef.tmp"].iter().for_each(|name| write(name));
    // There may be many after a night in a crash loop.
    (0..300).for_each(|number| write(&format!(".gitops-status-server-{number:016}.tmp")));
    let server = start(&state);
    assert_eq!(names(&state), others);
    assert_eq!(server.post(NEW).code, 200);
    for name in others {
        assert_eq!(fs::read_to_string(Path::new(&state).join(name)).unwrap(), name);
    }
    // One that cannot be removed is no harm.
    fs::create_dir(Path::new(&state).join(".gitops-status-server-2.tmp")).unwrap();
    let server = start(&state);
    assert_eq!(server.get("/ready").code, 200);
    assert_eq!(server.get("/status.json").content, NEW);
}

// Trouble with the disk

/// How a server is run that has trouble, and where.
struct Place<'p> {
    command: &'p dyn Fn() -> Command,
    /// The state directory, as the server is told.
    state: &'p str,
    /// The same, as the test sees it.
    seen: &'p Path,
}

/// What it says while it has trouble.
struct Said<'s> {
    code: u16,
    reason: &'s str,
    /// Where the old status is on disk, if anywhere.
    old: Option<&'s Path>,
    /// Whether somebody who asks is told before anybody posts.
    without_a_post: bool,
    /// What is posted.
    post: &'s [u8],
}

impl Said<'_> {
    fn is_said_by(&self, server: &Server, status: &[u8]) {
        let cannot = |message: String, beginning: &str| {
            assert!(message.starts_with(beginning) && message.ends_with(self.reason), "{message}");
        };
        for turn in 0..3 {
            if turn > 0 || !self.without_a_post {
                let refused = server.post(self.post);
                assert_eq!(refused.code, self.code, "{}", refused.text());
                cannot(refused.message(), "The status is not stored and the old one stays: cannot ");
            }
            for _ in 0..2 {
                let ready = ready(server);
                assert_eq!(ready.code, 503, "{}", ready.text());
                cannot(ready.message(), "Statuses cannot be stored: cannot ");
                serves(server, status);
                assert_eq!(server.get("/health").code, 200);
            }
            if let Some(old) = self.old {
                assert!(fs::read(old).unwrap() == status);
            }
        }
    }

    /// The log tells of the trouble once, and once that it is over.
    fn is_told_in(&self, log: &str, state: &str) {
        let told = lines(log, &format!("state directory {state}: "));
        assert_eq!(told.len(), 2, "{log}");
        assert!(told[0].contains(" error ") && told[0].ends_with(self.reason), "{log}");
        assert!(told[1].contains(" info ") && told[1].ends_with("usable again"), "{log}");
    }
}

/// That a server on `place` is usable, that what it kept is on disk again, and that it takes posts which last.
fn recovers(server: Server, place: &Place<'_>, status: &[u8]) -> String {
    let said = ready(&server);
    assert_eq!(said.code, 200, "{}", said.text());
    serves(&server, status);
    if status != UNKNOWN.as_bytes() {
        assert!(stored(place.seen) == status);
    }
    assert_eq!(server.post(NEW).code, 200);
    serves(&server, NEW);
    assert_eq!(stored(place.seen), NEW);
    let log = stop(server);
    let server = serve((place.command)(), place.state, &[]);
    serves(&server, NEW);
    assert_eq!(ready(&server).code, 200);
    log
}

/// Starts a server, lets it store a status, makes trouble and ends it.
fn withstands(place: &Place<'_>, said: &Said<'_>, trouble: impl FnOnce(), repair: impl FnOnce()) {
    let server = serve((place.command)(), place.state, &[]);
    assert_eq!(server.post(OLD).code, 200);
    assert_eq!(stored(place.seen), OLD);
    trouble();
    said.is_said_by(&server, OLD);
    repair();
    said.is_told_in(&recovers(server, place, OLD), place.state);
}

/// The same with trouble that is there at the start; `status` is what is served meanwhile, and `after` when it is over.
fn starts_in_spite(place: &Place<'_>, said: &Said<'_>, status: &[u8], after: &[u8], repair: impl FnOnce()) {
    let server = serve((place.command)(), place.state, &[]);
    said.is_said_by(&server, status);
    repair();
    said.is_told_in(&recovers(server, place, after), place.state);
}

/// A state directory on a file system of 64 KiB, which is mounted where nobody else sees it.
struct TinyDisk {
    holder: Child,
    /// Goes to where it is mounted.
    enter: Vec<String>,
    state: String,
    _dir: TemporaryDir,
}

impl TinyDisk {
    fn new() -> TinyDisk {
        let dir = TemporaryDir::new();
        let state = dir.path("disk");
        fs::create_dir(&state).unwrap();
        let script = "mount -t tmpfs -o size=64k,mode=750 tmpfs \"$0\" && echo mounted && exec cat";
        let ways = [&[][..], &["--user", "--map-root-user"]];
        let mut failures = String::new();
        for way in ways {
            let mut command = Command::new("unshare");
            command.args(way).args(["--mount", "sh", "-c", script, &state]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut holder = command.spawn().expect("this test needs unshare, of util-linux");
            let mut line = String::new();
            BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).unwrap();
            if line == "mounted\n" {
                let mut enter = vec!["nsenter".to_owned(), format!("--target={}", holder.id()), "--mount".to_owned()];
                if !way.is_empty() {
                    enter.extend(["--user", "--preserve-credentials"].map(str::to_owned));
                }
                return TinyDisk { holder, enter, state, _dir: dir };
            }
            let output = holder.wait_with_output().unwrap();
            failures.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        panic!(
            "this test mounts a tmpfs, so it needs to be root with CAP_SYS_ADMIN or allowed a user namespace: {failures}"
        );
    }

    fn entered(&self, program: &str) -> Command {
        let mut command = started_by(&self.enter[0]);
        command.args(&self.enter[1..]).arg(program);
        command
    }

    fn program(&self) -> Command {
        self.entered(&PROGRAM)
    }

    /// Where others than the server find it.
    fn seen(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{}", self.holder.id(), self.state))
    }

    fn remount(&self, option: &str) {
        let status =
            self.entered("mount").args(["-o", &format!("remount,bind,{option}"), &self.state]).status().unwrap();
        assert!(status.success());
    }

    /// Writes a file that leaves so many pages of 4 KiB.
    fn fill(&self, pages: usize) {
        let path = self.seen().join("filler");
        let mut file = File::create(&path).unwrap();
        let mut written = 0;
        while file.write_all(&[b'x'; 4096]).is_ok() {
            written += 4096;
        }
        file.set_len(written - 4096 * pages as u64).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.seen().join("filler")).unwrap();
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

const FULL: &str = "write: No space left on device (os error 28)";

#[test]
fn a_full_disk_is_said_until_there_is_room_again() {
    let disk = TinyDisk::new();
    let (command, seen) = (|| disk.program(), disk.seen());
    let place = Place { command: &command, state: &disk.state, seen: &seen };
    let file = status_file(&seen);
    let said = Said { code: 507, reason: FULL, old: Some(&file), without_a_post: false, post: NEW };
    withstands(&place, &said, || disk.fill(0), || disk.empty());
    assert_eq!(names(&seen), ["history", "status.json"]);
}

#[test]
fn a_disk_without_room_for_what_was_posted_is_full_though_less_would_fit() {
    let disk = TinyDisk::new();
    let (command, seen) = (|| disk.program(), disk.seen());
    let place = Place { command: &command, state: &disk.state, seen: &seen };
    let file = status_file(&seen);
    let large = status_of(40_000);
    let said = Said { code: 507, reason: FULL, old: Some(&file), without_a_post: false, post: &large };
    withstands(&place, &said, || disk.fill(4), || disk.empty());
}

#[test]
fn a_full_disk_is_said_by_a_server_that_keeps_no_status_yet() {
    let disk = TinyDisk::new();
    let (command, seen) = (|| disk.program(), disk.seen());
    let place = Place { command: &command, state: &disk.state, seen: &seen };
    disk.fill(0);
    let said = Said { code: 507, reason: FULL, old: None, without_a_post: false, post: NEW };
    starts_in_spite(&place, &said, UNKNOWN.as_bytes(), UNKNOWN.as_bytes(), || disk.empty());
}

#[test]
fn a_limit_on_the_size_of_files_is_like_a_full_disk() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = start(&state);
    assert_eq!(server.post(OLD).code, 200);
    let pid = Pid::from_raw(server.pid() as i32);
    let limit = |bytes| prlimit(pid, Resource::Fsize, Rlimit { current: bytes, maximum: None });
    limit(Some(20)).unwrap();
    let file = status_file(&state);
    let reason = "write: File too large (os error 27)";
    let said = Said { code: 507, reason, old: Some(&file), without_a_post: false, post: NEW };
    said.is_said_by(&server, OLD);
    limit(None).unwrap();
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    said.is_told_in(&recovers(server, &place, OLD), &state);
}

const READ_ONLY: &str = "create a file in the state directory: Read-only file system (os error 30)";

#[test]
fn a_file_system_that_becomes_read_only_is_said_until_it_is_writable_again() {
    let disk = TinyDisk::new();
    let (command, seen) = (|| disk.program(), disk.seen());
    let place = Place { command: &command, state: &disk.state, seen: &seen };
    let file = status_file(&seen);
    let said = Said { code: 503, reason: READ_ONLY, old: Some(&file), without_a_post: false, post: NEW };
    withstands(&place, &said, || disk.remount("ro"), || disk.remount("rw"));
}

#[test]
fn a_state_on_a_read_only_file_system_is_served_from_the_start() {
    let disk = TinyDisk::new();
    let (command, seen) = (|| disk.program(), disk.seen());
    let place = Place { command: &command, state: &disk.state, seen: &seen };
    let file = status_file(&seen);
    fs::write(&file, OLD).unwrap();
    disk.remount("ro");
    let said = Said { code: 503, reason: READ_ONLY, old: Some(&file), without_a_post: true, post: NEW };
    starts_in_spite(&place, &said, OLD, OLD, || disk.remount("rw"));
}

const NO_DIRECTORY: &str = "open the state directory: No such file or directory (os error 2)";

#[test]
fn a_directory_that_is_removed_is_said_until_there_is_one_again() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let said = Said { code: 503, reason: NO_DIRECTORY, old: None, without_a_post: true, post: NEW };
    withstands(&place, &said, || fs::remove_dir_all(&state).unwrap(), || fs::create_dir(&state).unwrap());
}

#[test]
fn a_directory_that_is_renamed_is_said_until_it_has_its_name_again() {
    let dir = TemporaryDir::new();
    let (state, away) = (dir.path("state"), dir.path("away"));
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let file = status_file(&away);
    let said = Said { code: 503, reason: NO_DIRECTORY, old: Some(&file), without_a_post: true, post: NEW };
    withstands(&place, &said, || fs::rename(&state, &away).unwrap(), || fs::rename(&away, &state).unwrap());
    assert!(fs::metadata(&away).is_err());
}

#[test]
fn a_state_directory_is_created_at_the_start() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = start(&state);
    let directory = fs::metadata(&state).unwrap();
    assert!(directory.is_dir() && directory.mode() & 0o027 == 0, "{:o}", directory.mode());
    assert_eq!(names(&state), [""; 0]);
    assert_eq!(ready(&server).code, 200);
    assert_eq!(server.post(NEW).code, 200);
    assert_eq!(names(&state), ["status.json"]);
}

#[test]
fn a_state_directory_that_cannot_be_created_does_not_keep_it_from_running() {
    let dir = TemporaryDir::new();
    let state = dir.path("parent/state");
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let said = Said { code: 503, reason: NO_DIRECTORY, old: None, without_a_post: true, post: NEW };
    let unknown = UNKNOWN.as_bytes();
    starts_in_spite(&place, &said, unknown, unknown, || fs::create_dir_all(&state).unwrap());
}

#[test]
fn a_state_that_is_found_later_is_served_then() {
    let dir = TemporaryDir::new();
    let (state, away) = (dir.path("parent/state"), dir.path("away"));
    fs::create_dir(&away).unwrap();
    fs::write(status_file(&away), OLD).unwrap();
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let said = Said { code: 503, reason: NO_DIRECTORY, old: None, without_a_post: true, post: NEW };
    starts_in_spite(&place, &said, UNKNOWN.as_bytes(), OLD, || {
        fs::create_dir(dir.path("parent")).unwrap();
        fs::rename(&away, &state).unwrap();
    });
}

#[test]
fn a_seed_that_was_seen_does_not_replace_a_state_that_is_found_later() {
    let dir = TemporaryDir::new();
    let (parent, away) = (dir.path("parent"), dir.path("away"));
    let state = dir.path("parent/state");
    fs::create_dir(&parent).unwrap();
    let seed = dir.file("seed.json", OLD);
    let arguments = ["--seed-file", &seed];
    let server = serve(program(), &state, &arguments);
    serves(&server, OLD);
    assert_eq!(server.post(NEW).code, 200);
    drop(server);
    // In a new pod the seed is written anew, with the same content, and its volume may come late.
    fs::rename(&parent, &away).unwrap();
    fs::write(&seed, OLD).unwrap();
    let server = serve(program(), &state, &arguments);
    serves(&server, OLD);
    assert_eq!(ready(&server).code, 503);
    fs::rename(&away, &parent).unwrap();
    serves(&server, NEW);
    assert_eq!(stored(&state), NEW);
    assert_eq!(ready(&server).code, 200);
}

#[test]
fn a_state_directory_that_is_a_file_is_said_until_it_is_a_directory() {
    let dir = TemporaryDir::new();
    let state = dir.file("state", b"something");
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let reason = "Not a directory (os error 20)";
    let said = Said { code: 503, reason, old: None, without_a_post: true, post: NEW };
    starts_in_spite(&place, &said, UNKNOWN.as_bytes(), UNKNOWN.as_bytes(), || {
        assert_eq!(fs::read(&state).unwrap(), b"something");
        fs::remove_file(&state).unwrap();
        fs::create_dir(&state).unwrap();
    });
}

/// A user that is not root, and who runs the tests if that is not root.
const NOBODY: u32 = 101;

/// A state directory that belongs to somebody who is not root, and the program for them.
struct Nobody {
    dir: TemporaryDir,
    state: String,
    program: String,
}

impl Nobody {
    fn new() -> Nobody {
        let dir = TemporaryDir::new();
        let state = dir.path("state");
        fs::create_dir(&state).unwrap();
        let mut program = PROGRAM.clone();
        if geteuid().is_root() {
            fs::set_permissions(dir.path(""), Permissions::from_mode(0o755)).unwrap();
            chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
            // They may not be allowed to where it is. Were it copied here, a child of another test could hold it open for
            // writing.
            program = dir.path("program");
            assert!(Command::new("cp").args([PROGRAM.as_str(), &program]).status().unwrap().success());
            fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        }
        Nobody { dir, state, program }
    }

    fn command(&self) -> Command {
        let mut command = started_by(&self.program);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

fn change_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_directory_that_may_not_be_written_is_said_until_it_may() {
    let nobody = Nobody::new();
    let (command, state) = (|| nobody.command(), &nobody.state);
    let place = Place { command: &command, state, seen: Path::new(state) };
    let file = status_file(state);
    let reason = "create a file in the state directory: Permission denied (os error 13)";
    let said = Said { code: 503, reason, old: Some(&file), without_a_post: false, post: NEW };
    withstands(&place, &said, || change_mode(state, 0o555), || change_mode(state, 0o755));
}

#[test]
fn a_directory_that_may_not_be_entered_is_said_until_it_may() {
    let nobody = Nobody::new();
    let (command, state) = (|| nobody.command(), &nobody.state);
    let place = Place { command: &command, state, seen: Path::new(state) };
    let reason = "look at status.json: Permission denied (os error 13)";
    let said = Said { code: 503, reason, old: None, without_a_post: true, post: NEW };
    withstands(&place, &said, || change_mode(state, 0o000), || change_mode(state, 0o755));
}

#[test]
fn a_directory_that_may_be_entered_again_has_to_be_writable_too() {
    let nobody = Nobody::new();
    let state = &nobody.state;
    let server = serve(nobody.command(), state, &[]);
    assert_eq!(server.post(OLD).code, 200);
    change_mode(state, 0o000);
    assert_eq!(ready(&server).code, 503);
    change_mode(state, 0o555);
    let said = ready(&server);
    assert_eq!(said.code, 503, "it cannot store anything:\n{}", server.log());
    assert!(said.message().contains("create a file in the state directory: Permission denied"), "{}", said.text());
    change_mode(state, 0o755);
    assert_eq!(ready(&server).code, 200);
}

#[test]
fn a_state_that_may_not_be_read_is_said_and_not_written_over() {
    let nobody = Nobody::new();
    let (command, state) = (|| nobody.command(), &nobody.state);
    let place = Place { command: &command, state, seen: Path::new(state) };
    let file = status_file(state);
    let reason = "read status.json: Permission denied (os error 13)";
    let said = Said { code: 503, reason, old: None, without_a_post: true, post: NEW };
    withstands(&place, &said, || change_mode(&file, 0o000), || change_mode(&file, 0o640));
    // At the start too.
    fs::write(&file, OLD).unwrap();
    change_mode(&file, 0o000);
    starts_in_spite(&place, &said, UNKNOWN.as_bytes(), OLD, || change_mode(&file, 0o640));
}

#[test]
fn a_state_that_may_not_be_replaced_is_said_until_it_may() {
    assert!(geteuid().is_root(), "this test needs to be root, for a file that belongs to somebody else");
    let nobody = Nobody::new();
    let (command, state) = (|| nobody.command(), &nobody.state);
    let place = Place { command: &command, state, seen: Path::new(state) };
    let file = status_file(state);
    let reason = "rename a file in the state directory: Operation not permitted (os error 1)";
    let said = Said { code: 503, reason, old: Some(&file), without_a_post: false, post: NEW };
    // As in /tmp, everybody may create files and nobody may replace those of others.
    let give_away = || {
        chown(state, Some(0), None).unwrap();
        change_mode(state, 0o1777);
        chown(&file, Some(0), None).unwrap();
        change_mode(&file, 0o644);
    };
    withstands(&place, &said, give_away, || chown(&file, Some(NOBODY), None).unwrap());
    assert_eq!(names(state), ["history", "status.json"]);
}

#[test]
fn files_belong_to_whoever_runs_the_server() {
    let nobody = Nobody::new();
    let server = serve(nobody.command(), &nobody.state, &[]);
    assert_eq!(server.post(NEW).code, 200);
    let user = if geteuid().is_root() { NOBODY } else { geteuid().as_raw() };
    let file = fs::metadata(status_file(&nobody.state)).unwrap();
    assert_eq!((file.uid(), file.mode() & 0o7777), (user, 0o640));
    // A volume may have a group of its own, which is that of all its files.
    let group = fs::metadata(nobody.dir.path("")).unwrap().gid();
    if geteuid().is_root() {
        chown(&nobody.state, None, Some(group)).unwrap();
    }
    change_mode(&nobody.state, 0o2775);
    assert_eq!(server.post(OLD).code, 200);
    let file = fs::metadata(status_file(&nobody.state)).unwrap();
    assert_eq!(file.gid(), fs::metadata(&nobody.state).unwrap().gid());
    assert_eq!((file.uid(), file.mode() & 0o7777), (user, 0o640));
}

/// Puts something else where the state was, and takes it away: in the middle, and before the start.
fn something_else_is_never_the_state(put: impl Fn(&Path), remove: impl Fn(&Path)) {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let place = Place { command: &program, state: &state, seen: Path::new(&state) };
    let file = status_file(&state);
    let old = Path::new(&state).join("old");
    let reason = "read status.json: not a regular file";
    let mut said = Said { code: 503, reason, old: Some(&old), without_a_post: true, post: NEW };
    let trouble = || {
        fs::rename(&file, &old).unwrap();
        put(&file);
    };
    withstands(&place, &said, trouble, || remove(&file));
    fs::remove_file(&file).unwrap();
    put(&file);
    said.old = None;
    starts_in_spite(&place, &said, UNKNOWN.as_bytes(), UNKNOWN.as_bytes(), || remove(&file));
}

#[test]
fn a_state_that_is_a_directory_is_said_until_it_is_gone() {
    let put = |file: &Path| {
        fs::create_dir(file).unwrap();
        fs::write(file.join("inner"), "").unwrap();
    };
    something_else_is_never_the_state(put, |file| fs::remove_dir_all(file).unwrap());
}

#[test]
fn a_state_that_is_a_pipe_keeps_nobody_waiting() {
    let put = |file: &Path| mknodat(CWD, file, FileType::Fifo, Mode::RWXU, 0).unwrap();
    something_else_is_never_the_state(put, |file| fs::remove_file(file).unwrap());
}

#[test]
fn a_symbolic_link_is_neither_read_nor_written_through() {
    let dir = TemporaryDir::new();
    let secret = br#"{"repo":"secret"}"#;
    let target = dir.file("target.json", secret);
    let put = |file: &Path| symlink(&target, file).unwrap();
    something_else_is_never_the_state(put, |file| {
        assert_eq!(fs::read(&target).unwrap(), secret);
        assert!(fs::symlink_metadata(file).unwrap().is_symlink());
        fs::remove_file(file).unwrap();
    });
    // One that leads nowhere, or stays within the directory, is none the better.
    for target in [&dir.path("nothing"), "old", "status.json"] {
        let put = |file: &Path| symlink(target, file).unwrap();
        something_else_is_never_the_state(put, |file| fs::remove_file(file).unwrap());
    }
    assert_eq!(names(dir.path("")), ["target.json"]);
}

#[test]
fn no_other_name_in_the_directory_leads_out_of_it() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    fs::create_dir(&state).unwrap();
    let [refused, seen] = ["refused", "seen"].map(|name| dir.file(name, b"untouched"));
    let inside = |name: &str| Path::new(&state).join(name);
    symlink(&refused, inside("status.json.refused")).unwrap();
    symlink(&seen, inside("seeds-seen")).unwrap();
    fs::write(status_file(&state), "no status").unwrap();
    let seed = dir.file("seed.json", OLD);
    let server = serve(program(), &state, &["--seed-file", &seed]);
    serves(&server, OLD);
    assert_eq!(server.post(NEW).code, 200);
    for path in [&refused, &seen] {
        assert_eq!(fs::read(path).unwrap(), b"untouched");
    }
    assert_eq!(fs::read(inside("status.json.refused")).unwrap(), b"no status");
    for name in ["status.json", "status.json.refused", "seeds-seen"] {
        assert!(fs::symlink_metadata(inside(name)).unwrap().is_file(), "{name}");
    }
}

#[test]
fn a_state_that_is_deleted_is_written_again() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = start(&state);
    assert_eq!(server.post(OLD).code, 200);
    for path in ["/status.json", "/ready"] {
        fs::remove_file(status_file(&state)).unwrap();
        assert_eq!(if path == "/ready" { ready(&server) } else { server.get(path) }.code, 200);
        serves(&server, OLD);
        assert_eq!(ready(&server).code, 200);
        assert_eq!(stored(&state), OLD);
    }
    fs::remove_file(status_file(&state)).unwrap();
    assert_eq!(server.post(NEW).code, 200);
    assert_eq!(stored(&state), NEW);
    let log = stop(server);
    assert_eq!(lines(&log, "was gone and is written anew").len(), 2, "{log}");
    assert_eq!(lines(&log, " error "), [""; 0]);
}

#[test]
fn what_is_no_state_at_the_start_is_moved_aside() {
    let whole = status_of(5_000);
    let cases: [(&[u8], &str); 5] = [
        (b"", "empty"),
        (&whole[..4_000], ""),
        (b"{\"repo\":\"a\"}\n{\"repo\":\"b\"}", ""),
        (&[0; 4096], ""),
        (&status_of(70_000), "70000 bytes"),
    ];
    for (content, reason) in cases {
        for seeded in [false, true] {
            let dir = TemporaryDir::new();
            let state = dir.path("state");
            fs::create_dir(&state).unwrap();
            fs::write(status_file(&state), content).unwrap();
            let arguments = ["--seed-file", &dir.file("seed.json", OLD)];
            let arguments = if seeded { &arguments[..] } else { &[] };
            let server = serve(program(), &state, arguments);
            let expected = if seeded { OLD } else { UNKNOWN.as_bytes() };
            serves(&server, expected);
            assert_eq!(ready(&server).code, 200);
            let aside = Path::new(&state).join("status.json.refused");
            assert!(fs::read(&aside).unwrap() == content);
            assert_eq!(status_file(&state).exists(), seeded);
            assert_eq!(server.post(NEW).code, 200);
            assert_eq!(stored(&state), NEW);
            let log = stop(server);
            let told = lines(&log, " error ");
            assert_eq!(told.len(), 1, "{log}");
            assert!(told[0].contains(aside.to_str().unwrap()) && told[0].to_lowercase().contains(reason), "{log}");
            let server = serve(program(), &state, arguments);
            serves(&server, NEW);
            assert!(fs::read(&aside).unwrap() == content);
        }
    }
}

#[test]
fn what_cannot_be_moved_aside_is_in_nobodys_way() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    fs::create_dir_all(Path::new(&state).join("status.json.refused/inner")).unwrap();
    for content in [b"no status".to_vec(), status_of(70_000)] {
        fs::write(status_file(&state), &content).unwrap();
        let server = start(&state);
        assert_eq!(server.get("/status.json").text(), UNKNOWN);
        assert!(stored(&state) == content);
        assert_eq!(server.post(NEW).code, 200);
        assert_eq!(ready(&server).code, 200);
        assert_eq!(stored(&state), NEW);
    }
}

// Other programs

/// Writes a file in place, or renames another one over it.
fn edit(file: &Path, content: &[u8], by_rename: bool) {
    if by_rename {
        let other = file.with_file_name("other");
        fs::write(&other, content).unwrap();
        fs::rename(other, file).unwrap();
    } else {
        fs::write(file, content).unwrap();
    }
}

#[test]
fn the_state_is_what_was_posted_byte_for_byte() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = start(&state);
    let spaced = b" \r\n\t{ \"repo\" : \"\\u0041\xc3\xa4\" ,\"files\":[ ] }\n\n";
    for status in [&spaced[..], b"{}", &status_of(65_536), &status_of(4_096), &status_of(4_097)] {
        assert_eq!(server.post(status).code, 200);
        assert!(stored(&state) == status);
        assert!(start(&state).get("/status.json").content == status);
    }
}

#[test]
fn what_another_program_writes_is_served_within_the_refresh_time() {
    const REFRESH: Duration = Duration::from_millis(150);
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--refresh-ms", "150", "--state-dir", &state]);
    let mut server = Server::start_with(&mut command);
    let plain = Server::start(&[]);
    let file = status_file(&state);
    for (turn, size) in [30, 30, 60_000, 2, 4_096, 4_096].into_iter().enumerate() {
        let by_rename = turn % 2 == 1;
        let mut status = status_of(size);
        status.iter_mut().filter(|byte| **byte == b'a').for_each(|byte| *byte += turn as u8);
        edit(&file, &status, by_rename);
        thread::sleep(REFRESH);
        serves(&server, &status);
        let served = server.get("/status.json");
        assert_eq!(plain.post(&status).code, 200);
        assert_eq!(served.field("ETag"), plain.get("/status.json").field("ETag"));
        assert!(stored(&state) == status);
        if turn % 3 == 2 {
            drop(server);
            server = Server::start_with(&mut command);
            let again = server.get("/status.json");
            assert!(again.content == status);
            assert_eq!(again.field("ETag"), served.field("ETag"));
        }
    }
    assert_eq!(server.post(NEW).code, 200);
    assert_eq!(stored(&state), NEW);
    // Nothing was wrong with any of them.
    assert_eq!(lines(&stop(server), " error "), [""; 0]);
}

#[test]
fn what_another_program_writes_is_not_looked_for_before_the_refresh_time() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let mut command = program();
    command.args(["--listen", "127.0.0.1:0", "--refresh-ms", "60000", "--state-dir", &state]);
    let server = Server::start_with(&mut command);
    assert_eq!(server.post(OLD).code, 200);
    edit(&status_file(&state), NEW, true);
    serves(&server, OLD);
    // Who restarts sees it.
    assert_eq!(start(&state).get("/status.json").content, NEW);
}

#[test]
fn what_another_program_writes_wrong_is_refused_once_and_the_next_post_replaces_it() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let file = status_file(&state);
    let server = start(&state);
    let wrong = [b"".to_vec(), b"[]".to_vec(), b"{\"repo\":".to_vec(), b"{\"repo\":1}".to_vec(), status_of(65_537)];
    let mut count = 0;
    for content in &wrong {
        for by_rename in [false, true] {
            assert_eq!(server.post(OLD).code, 200);
            edit(&file, content, by_rename);
            for _ in 0..5 {
                serves(&server, OLD);
                assert_eq!(ready(&server).code, 200);
            }
            count += 1;
            let log = server.wait_for_log(&format!("({count} refused)"));
            assert_eq!(lines(&log, "the old status stays").len(), count, "{log}");
            assert!(stored(&state) == *content);
            assert_eq!(server.post(NEW).code, 200);
            serves(&server, NEW);
            assert_eq!(stored(&state), NEW);
            assert_eq!(names(&state), ["history", "status.json"]);
        }
    }
    let log = stop(server);
    assert_eq!(lines(&log, " error ").len(), count, "{log}");
    // Written right behind something wrong, it is served.
    let server = start(&state);
    edit(&file, b"", false);
    serves(&server, NEW);
    edit(&file, OLD, false);
    serves(&server, OLD);
}

// Signals

#[test]
fn sighup_looks_at_the_files_at_once() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let seed = dir.file("seed.json", OLD);
    let files = ["--seed-file", &seed, "--state-dir", &state];
    for arguments in [&files[..2], &files[2..], &files[..]] {
        let server = Server::start(&[arguments, &["--refresh-ms", "60000"]].concat());
        for number in 0..4 {
            // With both, the state after the seed.
            let file = if arguments.len() == 4 && number % 2 == 1 { status_file(&state) } else { arguments[1].into() };
            let file = if file == Path::new(&state) { status_file(&state) } else { file };
            let before = server.get("/status.json").content;
            let status = format!(r#"{{"repo":"{}","drift_count":{number}}}"#, arguments.len()).into_bytes();
            edit(&file, &status, number < 2);
            serves(&server, &before);
            server.signal(Signal::HUP);
            let begun = Instant::now();
            while server.get("/status.json").content != status {
                assert!(begun.elapsed() < PATIENCE, "it is not taken:\n{}", server.log());
                thread::sleep(Duration::from_millis(1));
            }
        }
        let log = stop(server);
        assert_eq!(lines(&log, "SIGHUP: looking at the files").len(), 4, "{log}");
        assert_eq!(lines(&log, " error "), [""; 0]);
    }
}

#[test]
fn sighup_without_files_is_in_the_log_and_nothing_else() {
    let server = Server::start(&[]);
    assert_eq!(server.post(OLD).code, 200);
    let before = server.wait_for_log("accepted status").lines().count();
    server.signal(Signal::HUP);
    let log = server.wait_for_log("SIGHUP: nothing to do, there is no seed file and no state directory\n");
    assert_eq!(log.lines().count(), before + 1, "{log}");
    serves(&server, OLD);
    stop(server);
}

#[test]
fn a_post_that_is_being_stored_is_answered_after_sigterm() {
    let status = status_of(1 << 18);
    let request = post_request(&status);
    let (begin, end) = request.split_at(request.len() - 1);
    for turn in 0..9 {
        let dir = TemporaryDir::new();
        let state = dir.path("state");
        let server = serve(program(), &state, &["--max-bytes", "1048576"]);
        let mut clients: Vec<_> = (0..3).map(|_| server.begin(begin)).collect();
        clients.iter_mut().for_each(|client| client.send(end));
        // Sometimes before the first file is written, sometimes in the middle of it, sometimes behind it.
        let begun = Instant::now();
        let is_time = || match turn % 3 {
            0 => true,
            1 => !names(&state).is_empty(),
            _ => status_file(&state).exists(),
        };
        while !is_time() {
            assert!(begun.elapsed() < PATIENCE, "nothing is stored:\n{}", server.log());
        }
        server.signal(Signal::TERM);
        for client in &mut clients {
            let answer = client.response();
            assert_eq!((answer.code, answer.reason.as_str()), (200, "OK"));
            assert!(client.is_ended());
        }
        let (exit, log) = server.wait();
        assert_eq!(exit.code(), Some(0), "{log}");
        assert_eq!(lines(&log, "accepted status").len(), clients.len(), "{log}");
        assert!(log.ends_with(" info stopped\n"), "{log}");
        assert!(stored(&state) == status);
        assert_eq!(names(&state), ["history", "status.json"]);
    }
}

// Load

/// The memory, in KiB, that a process has for itself: without what it maps of its program and of libraries, which is all of
/// a few MiB in a debug build. The server gives none back, so that it is also the most it had.
fn own_memory(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("see proc_pid_status(5)");
    line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

/// Posts from so many connections at once for a while, all of them kept; gives how many were accepted. The status of each
/// poster is its own.
fn post_for(duration: Duration, server: &Server, posters: usize, size: usize) -> usize {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let posting: Vec<_> = (0..posters)
            .map(|poster| {
                let (over, mut client) = (&over, server.connect());
                scope.spawn(move || {
                    let status = own_status(poster, size);
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        client.send(&post_request(&status));
                        let answer = client.response();
                        assert_eq!(answer.code, 200, "{}", answer.text());
                        assert!(answer.content.ends_with(&[&status[..], b"}"].concat()));
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        thread::sleep(duration);
        over.store(true, Ordering::Relaxed);
        posting.into_iter().map(|poster| poster.join().expect("it says why above")).sum()
    })
}

/// A status of so many bytes that nobody else posts.
fn own_status(poster: usize, size: usize) -> Vec<u8> {
    let begin = format!(r#"{{"repo":"{poster}","fill":""#);
    format!("{begin}{}\"}}", "x".repeat(size - begin.len() - 2)).into_bytes()
}

#[test]
fn many_who_post_at_once_are_all_accepted_in_bounded_memory() {
    for size in [200, 60_000] {
        let dir = TemporaryDir::new();
        let state = dir.path("state");
        let server = start(&state);
        let count = post_for(Duration::from_secs(2), &server, 64, size);
        let memory = own_memory(&server);
        assert!(memory < 2048, "{memory} KiB");
        let status = stored(&state);
        assert!((0..64).any(|poster| own_status(poster, size) == status));
        serves(&server, &status);
        assert_eq!(ready(&server).code, 200);
        assert_eq!(names(&state), ["history", "status.json"]);
        let log = stop(server);
        assert_eq!(lines(&log, "accepted status").len(), count);
        assert!(count >= 64);
        assert!(start(&state).get("/status.json").content == status);
    }
}

#[test]
fn the_largest_statuses_are_stored_too() {
    let dir = TemporaryDir::new();
    let state = dir.path("state");
    let server = serve(program(), &state, &["--max-bytes", "1048576"]);
    post_for(Duration::from_millis(500), &server, 4, 1 << 20);
    let status = stored(&state);
    assert!((0..4).any(|poster| own_status(poster, 1 << 20) == status));
    serves(&server, &status);
    drop(server);
    let server = serve(program(), &state, &["--max-bytes", "1048576"]);
    serves(&server, &status);
}
