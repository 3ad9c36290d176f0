//! Builds the C function that makes sled's syncs durable: `src/log/sled_store/sync_file_range.c`.

use std::env;

const SOURCE: &str = "src/log/sled_store/sync_file_range.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    // Elsewhere sled syncs the whole file by itself.
    if env::var("CARGO_CFG_TARGET_OS").as_deref() != Ok("linux") {
        return;
    }
    cc::Build::new().file(SOURCE).cargo_metadata(false).compile("fedsx_sync_file_range");
    println!("cargo::rustc-link-search=native={}", env::var("OUT_DIR").unwrap_or_default());
    // The whole archive: when the linker comes to it, nothing may ask for the function yet.
    println!("cargo::rustc-link-lib=static:+whole-archive,-bundle=fedsx_sync_file_range");
}
