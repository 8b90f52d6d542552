//! How long the floors of the core take, and a whole GET and POST through all of them: no socket, no clock, no file.
//!
//! `cargo bench --bench core` measures; behind `--` a part of a name chooses, and `--test` only shows that all works.

mod inputs;

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gitops_status_server::connection::{Limits, Next, Turn};
use gitops_status_server::connections::{Connections, Storage};
use gitops_status_server::event::{Event, Journal};
use gitops_status_server::http::framing::{Decoder, Length};
use gitops_status_server::http::head::{field_lines, parse};
use gitops_status_server::http::response::{Date, Persistence, Rendered};
use gitops_status_server::json;
use gitops_status_server::render::{self, Manner};
use gitops_status_server::routes::{Content, Problem};
use gitops_status_server::snapshot::{ETag, Snapshots};
use gitops_status_server::status::Refusal;

criterion_main!(all);
criterion_group! { name = all; config = inputs::brief(); targets = head, chunked, rendering, etag, whole }

const DATE: Date = Date(*b"Sun, 06 Nov 1994 08:49:37 GMT");
const NOW: u64 = 1_000_000;
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);
/// Those of the configuration's defaults.
const LIMITS: Limits = Limits {
    max_bytes: 65_536,
    head_timeout: 10_000,
    body_timeout: 30_000,
    idle_timeout: 75_000,
    write_timeout: 20_000,
};

/// A request head from its bytes to what is known of it.
fn head(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("head");
    for (name, bytes) in inputs::heads() {
        let read = |bytes: &[u8]| {
            let mut room = field_lines();
            parse(bytes, &mut room).ok().flatten().map(|head| (head.len, head.body, head.keep_alive))
        };
        assert_eq!(read(&bytes), Some((bytes.len(), Length::Bytes(0), true)), "{name}");
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(BenchmarkId::new("parse", name), &bytes, |bencher, bytes| {
            bencher.iter(|| read(black_box(bytes)));
        });
    }
}

/// A chunked body of 64 KiB, of which a read brings 64 KiB: in chunks as clients make them, and in tiny ones.
fn chunked(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunked");
    let content = inputs::status(64 << 10);
    for (name, size) in [("in chunks of 8 KiB", 8 << 10), ("in chunks of 16 B", 16)] {
        let body = inputs::chunked(&content, size);
        let decode = |body: &[u8], take: &mut dyn FnMut(&[u8])| {
            let mut decoder = Decoder::new(Length::Chunked);
            let mut rest = body;
            while !decoder.is_done() {
                let (used, found) = decoder.decode(rest).expect("the body is sound");
                take(found);
                rest = &rest[used..];
            }
        };
        let mut decoded = Vec::new();
        decode(&body, &mut |found| decoded.extend_from_slice(found));
        assert_eq!(decoded, content, "{name}");
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_with_input(BenchmarkId::new("decode", name), &body, |bencher, body| {
            bencher.iter(|| decode(black_box(body), &mut |found| _ = black_box(found)));
        });
    }
}

/// What is written in front of a status, and an error.
fn rendering(criterion: &mut Criterion) {
    /// Large, and made once.
    static SNAPSHOTS: Mutex<Snapshots> = Mutex::new(Snapshots::new());
    let mut snapshots = SNAPSHOTS.lock().unwrap_or_else(PoisonError::into_inner);
    snapshots.start(&inputs::status(1 << 10), render::prepare);
    let current = snapshots.current();
    let manner = Manner { date: &DATE, persistence: Persistence::Default, head_only: false };
    let mut out = Rendered::new();
    let starts_with = |out: &Rendered, text: &[u8]| assert!(out.starts_with(text), "{}", out.escape_ascii());

    let mut group = criterion.benchmark_group("render");
    render::content(&mut out, Content::Status, current, manner);
    starts_with(&out, b"HTTP/1.1 200 OK\r\n");
    group.bench_function("head of a status", |bencher| {
        bencher.iter(|| render::content(&mut out, black_box(Content::Status), current, manner));
    });

    let date = render::prepare(current.bytes(), current.etag(), &mut out);
    assert_eq!(&out[..date], current.begun_head());
    group.bench_function("what is prepared of it", |bencher| {
        bencher.iter(|| render::prepare(black_box(current.bytes()), current.etag(), &mut out));
    });

    let error = json::check(b"{\"drift_count\": 07}").expect_err("a leading zero");
    let problem = Problem::Refused(Refusal::Json(error));
    render::problem(&mut out, &problem, manner);
    starts_with(&out, b"HTTP/1.1 400 Bad Request\r\n");
    assert!(
        out.ends_with(br#"{"success":false,"message":"Invalid JSON: a number cannot have a leading zero at byte 17"}"#)
    );
    group.bench_function("error", |bencher| {
        bencher.iter(|| render::problem(&mut out, black_box(&problem), manner));
    });
}

/// The entity tag of a status.
fn etag(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ETag");
    assert_eq!(ETag::of(b"").as_bytes(), b"\"1e924b9d737700d7\"");
    for (name, size) in inputs::SIZES {
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("of", name), &inputs::status(size), |bencher, status| {
            bencher.iter(|| ETag::of(black_box(status)));
        });
    }
}

/// A whole request, from its bytes to those of its answer.
fn whole(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("whole");
    let status = inputs::status(1 << 10);
    let (get, post) = (inputs::get(), inputs::post(&status));

    let mut storage = storage();
    let mut core = Core::new(&mut storage);
    assert!(core.answer_text(&post).starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(core.answer_text(&get).ends_with(std::str::from_utf8(&status).expect("it is JSON")));
    group.bench_function("GET of 1 KiB, kept", |bencher| bencher.iter(|| core.answer(black_box(&get))));
    group.bench_function("POST of 1 KiB, kept", |bencher| bencher.iter(|| core.answer(black_box(&post))));
    group.bench_function("GET of 1 KiB, connection and all", |bencher| {
        bencher.iter(|| {
            core.reconnect();
            core.answer(black_box(&get))
        });
    });
    let refused = inputs::post(b"{\"drift_count\": 07}");
    assert!(core.answer_text(&refused).starts_with("HTTP/1.1 400 Bad Request\r\n"));
    group.bench_function("POST that is refused, kept", |bencher| bencher.iter(|| core.answer(black_box(&refused))));
}

fn storage() -> MutexGuard<'static, Storage> {
    /// Large, and made once.
    static STORAGE: Mutex<Storage> = Mutex::new(Storage::new());
    STORAGE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears all and keeps nothing.
struct Deaf;

impl Journal for Deaf {
    fn record(&mut self, event: Event<'_>) {
        black_box(event);
    }
}

/// The core with one connection, driven as the server drives it.
struct Core<'s> {
    connections: Connections<'s>,
    id: usize,
}

impl<'s> Core<'s> {
    fn new(storage: &'s mut Storage) -> Self {
        let mut connections = Connections::new(storage, 256, LIMITS);
        let id = connections.accept(PEER, NOW).expect("nobody else is there");
        Core { connections, id }
    }

    fn reconnect(&mut self) {
        self.connections.close(self.id);
        self.id = self.connections.accept(PEER, NOW).expect("nobody else is there");
    }

    /// Gives `request` to the core and takes its answer; gives how many bytes that has.
    fn answer(&mut self, request: &[u8]) -> usize {
        self.answer_with(request, |_| {})
    }

    fn answer_text(&mut self, request: &[u8]) -> String {
        let mut text = Vec::new();
        self.answer_with(request, |bytes| text.extend_from_slice(bytes));
        String::from_utf8(text).expect("an answer is text")
    }

    fn answer_with(&mut self, request: &[u8], mut take: impl FnMut(&[u8])) -> usize {
        let mut turn = Turn { now: NOW, date: &DATE, journal: &mut Deaf };
        self.connections.receive(self.id, request, &mut turn);
        let mut bytes = 0;
        while self.connections.next(self.id) == Next::Write {
            let output = self.connections.output(self.id);
            output.iter().for_each(|part| take(black_box(part)));
            let sent = output.iter().map(|part| part.len()).sum();
            bytes += sent;
            self.connections.sent(self.id, sent, false, &mut turn);
        }
        bytes
    }
}
