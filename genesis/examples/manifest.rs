//! Writes `bundle/manifest.json` anew after the genesis files were edited:
//! `cargo run -p fedsx-genesis --example manifest`.

use std::error::Error;
use std::fs;
use std::path::Path;

use fedsx_genesis::bundle::Bundle;
use fedsx_genesis::manifest::MANIFEST_PATH;

fn main() -> Result<(), Box<dyn Error>> {
    let genesis = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = Bundle::from_dir(genesis)?.make_manifest()?;
    fs::write(genesis.join(MANIFEST_PATH), manifest.to_json()?)?;
    let verified = Bundle::from_dir(genesis)?.verify()?;
    println!("{} files, bundle {}", manifest.files.len(), verified.cid);
    Ok(())
}
