//! The `fedsx` program.

use std::process::ExitCode;

use clap::Parser as _;
use fedsx::args::{Cli, Command};
use fedsx::{
    archive, backup, compact, config, define, doctor, erase, genesis, init, key, log, online,
    projection, recover, resolve, restore, serve, shell, verify,
};

/// Documents are trees of small texts: a quarter of the time went into the system's allocator.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Init(args) => init::run(&args),
        Command::Serve(args) => serve::run(*args),
        Command::Publish(args) => online::publish::publish(&args),
        Command::Follow(args) => online::publish::follow(&args),
        Command::Feed(args) => online::read::feed(&args),
        Command::Inbox(args) => online::read::inbox(&args),
        Command::Actor(args) => online::actor::run(&args),
        Command::Token(args) => online::token::run(&args),
        Command::Delivery(args) => online::delivery::run(&args),
        Command::DeadLetter(args) => online::dead_letter::run(&args),
        Command::Peer(args) => online::peer::run(&args),
        Command::Moderation(args) => online::moderation::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Export(args) => archive::export(&args),
        Command::Import(args) => archive::import(&args),
        Command::Backup(args) => backup::run(&args),
        Command::Restore(args) => restore::run(&args),
        Command::Recover(args) => recover::run(&args),
        Command::Define(args) => define::run(&args),
        Command::Erase(args) => erase::run(&args),
        Command::Resolve(args) => resolve::run(&args),
        Command::Compact(args) => compact::run(&args),
        Command::Config(args) => config::command::run(args),
        Command::Genesis(args) => genesis::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Key(args) => key::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Completions(args) => Ok(shell::completions(&args)),
        Command::Man(args) => shell::man(&args),
        Command::Projection(args) => projection::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fedsx: {error:#}");
            ExitCode::from(2)
        }
    }
}
