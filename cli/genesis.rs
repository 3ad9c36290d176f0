//! `fedsx genesis`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use fedsx_genesis::bundle::{Bundle, BundleError};

use crate::args::{GenesisArgs, GenesisCommand};

/// The bundle of a directory, or the built-in one.
pub fn bundle(directory: Option<&Path>) -> Result<Bundle, BundleError> {
    match directory {
        Some(directory) => Bundle::from_dir(directory),
        None => Ok(Bundle::embedded()),
    }
}

/// Runs the command.
pub fn run(args: &GenesisArgs) -> Result<ExitCode> {
    match &args.command {
        GenesisCommand::Verify { genesis } => {
            match bundle(genesis.as_deref()).and_then(|bundle| bundle.verify()) {
                Ok(verified) => {
                    println!(
                        "bundle {} verified: {} definitions, {} runtime verbs",
                        verified.cid,
                        verified.definitions.len(),
                        verified.runtime.len()
                    );
                    Ok(ExitCode::SUCCESS)
                }
                Err(error) => {
                    eprintln!("fedsx: {error}");
                    Ok(ExitCode::FAILURE)
                }
            }
        }
        GenesisCommand::Manifest { genesis } => {
            print!("{}", Bundle::from_dir(genesis)?.make_manifest()?.to_json()?);
            Ok(ExitCode::SUCCESS)
        }
    }
}
