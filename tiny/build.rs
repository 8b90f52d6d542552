//! Links anew when what `./build-tiny` gives the linker has changed.

fn main() {
    println!("cargo::rerun-if-changed=discard.ld");
}
