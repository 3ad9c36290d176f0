//! `fedsx resolve`: the actor of an account, asked of the account's own host.
//!
//! It needs neither a data directory nor a running instance, so that an operator can see from any
//! machine what others see. A running instance resolves the same by its webfinger route, with a
//! token, and remembers it.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use fedsx_delivery::client::{Client, ClientOptions, TcpDial};
use fedsx_delivery::webfinger::{self, Account};
use fedsx_kernel::runtime::SystemClock;
use serde_json::json;

/// Options of `fedsx resolve`.
#[derive(Args, Clone, Debug)]
pub struct ResolveArgs {
    /// The account: acct:name@host, name@host or @name@host, with :port where it is not the usual.
    #[arg(value_name = "ACCOUNT")]
    pub account: String,
    /// Print subject, actor and the whole answer as JSON.
    #[arg(long)]
    pub json: bool,
    /// Allow connections to private, loopback and other reserved addresses (development).
    #[arg(long, env = "FEDSX_ALLOW_PRIVATE_NETWORK", num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub allow_private_network: bool,
    /// Allow plain http (development).
    #[arg(long, env = "FEDSX_ALLOW_HTTP", num_args = 0..=1, default_missing_value = "true", default_value = "false", value_name = "BOOL")]
    pub allow_http: bool,
}

/// Prints the id of the account's actor. The exit code is 0 where there is one, 1 where the host
/// could not be asked or does not know it.
///
/// # Errors
/// Where the account is none.
pub fn run(args: &ResolveArgs) -> Result<ExitCode> {
    let account: Account = args.account.parse().context("ACCOUNT")?;
    let options = ClientOptions {
        allow_private_network: args.allow_private_network,
        allow_http: args.allow_http,
        ..ClientOptions::default()
    };
    let dial = Arc::new(TcpDial { allow_private_network: args.allow_private_network });
    let client = Client::new(options, dial, Arc::new(SystemClock));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(webfinger::lookup(&client, &account)) {
        Ok(found) if args.json => {
            let found = json!({
                "account": account.to_string(),
                "subject": found.subject.to_string(),
                "actor": found.actor_url,
                "jrd": found.jrd,
            });
            println!("{found:#}");
            Ok(ExitCode::SUCCESS)
        }
        Ok(found) => {
            println!("{}", found.actor_url);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            eprintln!("fedsx: {account}: {error}");
            Ok(ExitCode::FAILURE)
        }
    }
}
