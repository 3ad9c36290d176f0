//! What shells and manual readers want: completions and man pages.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::args::Cli;

/// Options of `fedsx completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell.
    pub shell: Shell,
}

/// Options of `fedsx man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Write a page for every command into this directory, in place of one to standard output.
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// Prints a script that completes the commands.
pub fn completions(args: &CompletionsArgs) -> ExitCode {
    clap_complete::generate(args.shell, &mut Cli::command(), "fedsx", &mut std::io::stdout());
    ExitCode::SUCCESS
}

/// Writes man pages (roff).
///
/// # Errors
/// Where they cannot be written.
pub fn man(args: &ManArgs) -> Result<ExitCode> {
    match &args.directory {
        None => clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?,
        Some(directory) => pages(directory)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn pages(directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
    clap_mangen::generate_to(Cli::command(), directory)
        .with_context(|| directory.display().to_string())
}
