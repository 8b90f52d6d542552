//! Leaves out of the released static binary what only an unwinder reads: a panic aborts there.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=no-unwind.ld");
    let is = |name, value| var(name).is_ok_and(|given| given == value);
    // The standard library comes with all that, and no option leaves it out. The script is for GNU ld, which links for
    // this target unless it is told otherwise.
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-musl") {
        let directory = var("CARGO_MANIFEST_DIR").expect("cargo says where the package is");
        println!("cargo::rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{directory}/no-unwind.ld");
    }
}
