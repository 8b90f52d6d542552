//! How fast a text is judged and a status is read, beside `serde_json` and `serde-json-core` on the same bytes.
//!
//! `cargo bench --bench json` measures; behind `--` a part of a name chooses, and `--test` only shows that all works.

mod inputs;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gitops_status_server::{json, status};
use serde::de::IgnoredAny;

criterion_main!(all);
criterion_group! { name = all; config = inputs::brief(); targets = sizes, shapes, views }

/// What all judges do to a text of the same size.
fn judges(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, text: &[u8]) {
    group.throughput(Throughput::Bytes(text.len() as u64));
    assert_eq!(json::check(text), Ok(()), "{name}");
    group.bench_with_input(BenchmarkId::new("check", name), text, |bencher, text| {
        bencher.iter(|| json::check(black_box(text)));
    });
    let serde_json = |text: &[u8]| serde_json::from_slice::<IgnoredAny>(text);
    assert!(serde_json(text).is_ok(), "{name}");
    group.bench_with_input(BenchmarkId::new("serde_json", name), text, |bencher, text| {
        bencher.iter(|| serde_json(black_box(text)));
    });
    // What it throws away it does not look at as closely: any bytes may stand in a string.
    group.bench_with_input(BenchmarkId::new("serde_json and UTF-8", name), text, |bencher, text| {
        bencher.iter(|| std::str::from_utf8(black_box(text)).is_ok_and(|text| serde_json(text.as_bytes()).is_ok()));
    });
    let serde_json_core = |text: &[u8]| serde_json_core::from_slice::<IgnoredAny>(text).map(|(_, used)| used);
    assert!(serde_json_core(text) == Ok(text.len()), "{name}");
    group.bench_with_input(BenchmarkId::new("serde-json-core", name), text, |bencher, text| {
        bencher.iter(|| serde_json_core(black_box(text)));
    });
}

/// The same status, larger and larger.
fn sizes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("JSON by size");
    for (name, size) in inputs::SIZES {
        judges(&mut group, name, &inputs::status(size));
    }
}

/// Texts of 64 KiB, each of one kind.
fn shapes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("JSON by shape");
    group.sample_size(20);
    for (name, text) in inputs::shapes() {
        judges(&mut group, name, &text);
    }
}

/// The whole of what a post is asked: whether it is JSON, and what its known fields say.
fn views(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("status");
    for (name, size) in inputs::SIZES {
        let text = inputs::status(size);
        let files = text.windows(9).filter(|part| part == b"clusters/").count();
        assert_eq!(status::read(&text).map(|view| view.files), Ok(Some(files)), "{name}");
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_with_input(BenchmarkId::new("read", name), &text, |bencher, text| {
            bencher.iter(|| status::read(black_box(text)).map(|view| view.files));
        });
    }
}
