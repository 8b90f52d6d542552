//! Leaves out of the released static binary what only an unwinder reads: a panic aborts there.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let is = |name, value| var(name).is_ok_and(|given| given == value);
    // The standard library comes with all that, and no option leaves it out. The script is for GNU ld, which links for
    // x86_64 unless it is told otherwise, by way of a C compiler, and for Rust's own linker.
    let way = if is("TARGET", "x86_64-unknown-linux-musl") {
        "-Wl,"
    } else if is("TARGET", "aarch64-unknown-linux-musl") && is("RUSTC_LINKER", "rust-lld") {
        ""
    } else {
        return;
    };
    if is("PROFILE", "release") {
        let directory = var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
        println!("cargo::rustc-link-arg-bins={way}--no-eh-frame-hdr");
        println!("cargo::rustc-link-arg-bins={way}--script={directory}/no-unwind.ld");
    }
}
