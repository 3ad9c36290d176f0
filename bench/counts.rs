//! Runs each hot path once, for callgrind to count its instructions; `scripts/count_instructions.sh`
//! runs this and compares. Prints the names of the paths in the order in which they are counted.

#[path = "shared/author.rs"]
mod author;
#[path = "shared/hot.rs"]
mod hot;

use anyhow::{Context as _, Result};
use hot::{Hot, PURE, WHOLE};

fn main() -> Result<()> {
    let mut hot = Hot::new()?;
    for (name, path) in PURE.iter().chain(&WHOLE) {
        // What is made once and kept does not count.
        path(&mut hot).context(*name)?;
        counted_path(&mut hot, path).context(*name)?;
        println!("{name}");
    }
    Ok(())
}

/// The script counts between entering and leaving this function, by its name.
#[inline(never)]
fn counted_path(hot: &mut Hot, path: &fn(&mut Hot) -> Result<()>) -> Result<()> {
    std::hint::black_box(path)(hot)
}
