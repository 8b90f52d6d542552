//! `limit`, asked by `load`.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::common::{file, load};

struct Limit {
    child: Child,
    address: SocketAddr,
}

impl Limit {
    fn start(body: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_limit"))
            .args(["--listen", "127.0.0.1:0", "--body", body])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.strip_prefix("listening on ").expect("it says where").trim_end().parse().unwrap();
        Limit { child, address }
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn whoever_asks_gets_the_body() {
    for (name, bytes) in [("small", 92), ("medium", 64 << 10), ("large", 1 << 20)] {
        let body: Vec<u8> = (0..bytes).map(|number| b'a' + (number % 26) as u8).collect();
        let path = file(name, &body);
        let limit = Limit::start(&path);
        let expect = format!("--warmup 0 --expect {path}");
        load(limit.address, &format!("--requests 300 --connections 1 {expect}")).assert_good(300);
        load(limit.address, &format!("--requests 300 --connections 100 {expect}")).assert_good(300);
    }
}

#[test]
fn its_processor_time_is_told() {
    let limit = Limit::start(&file("asked", b"{}"));
    let told = load(limit.address, &format!("--seconds 0.5 --connections 4 --cpu-of {}", limit.child.id()));
    let spent = told.number("server_cpu_seconds");
    assert!(spent > 0.01 && spent <= told.number("seconds") + 0.05, "{}", told.json);
    let rate = told.number("requests") / spent;
    assert!((told.number("requests_per_cpu_second") / rate - 1.0).abs() < 0.01, "{}", told.json);
}

#[test]
fn bad_usage_is_told_and_the_exit_code_is_2() {
    for (arguments, message) in [
        (&[][..], "limit: --listen IP:PORT is missing; see --help\n"),
        (&["--listen", "here"], "limit: --listen takes IP:PORT, not here; see --help\n"),
        (&["--listen", "127.0.0.1:0"], "limit: --body FILE is missing; see --help\n"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_limit")).args(arguments).output().unwrap();
        assert_eq!((output.status.code(), str::from_utf8(&output.stderr)), (Some(2), Ok(message)));
    }
    let help = Command::new(env!("CARGO_BIN_EXE_limit")).arg("--help").output().unwrap();
    assert!(help.status.success() && help.stdout.ends_with(b"until it is killed.\n"));
}
