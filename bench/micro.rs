//! Times the hot paths, those that change nothing: `cargo bench --bench micro`.

#[allow(dead_code, reason = "other programs use the rest")]
#[path = "shared/author.rs"]
mod author;
#[allow(dead_code, reason = "other programs use the rest")]
#[path = "shared/hot.rs"]
mod hot;

use std::cell::RefCell;

use divan::Bencher;
use hot::{Hot, PURE};

thread_local! {
    static HOT: RefCell<Option<Hot>> = RefCell::new(Hot::new().ok());
}

fn main() {
    divan::main();
}

#[divan::bench(args = PURE.map(|(name, _)| name))]
fn path(bencher: Bencher<'_, '_>, name: &str) {
    let found = PURE.iter().find(|(held, _)| *held == name);
    HOT.with_borrow_mut(|hot| {
        let (Some(hot), Some((_, path))) = (hot, found) else { return };
        bencher.bench_local(|| path(hot));
    });
}
