//! The genesis files are compiled in: a file that was added or removed needs a new build too.

fn main() {
    println!("cargo:rerun-if-changed=bundle");
    println!("cargo:rerun-if-changed=runtime-verbs");
}
