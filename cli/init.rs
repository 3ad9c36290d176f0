//! `fedsx init`: everything that an instance needs before its first start.

use std::fmt::Display;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use dialoguer::Input;
use fedsx_kernel::keys::MasterKey;
use fedsx_kernel::runtime::{OsRandom, Random};
use fedsx_kernel::{ActorName, Base};
use serde_json::json;

use crate::config::example;
use crate::data;

/// The name of the configuration file.
const FILE: &str = "fedsx.toml";

/// Options of `fedsx init`. What is not given is asked for on a terminal.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Where the configuration file goes [default: the working directory].
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// The origin under which others reach the instance. It is part of every id, and cannot change
    /// later.
    #[arg(long, value_name = "URL")]
    pub base_url: Option<Base>,
    /// Where everything is kept.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address and port to listen at.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// The name that the first token, which may operate the instance, acts for.
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub admin: ActorName,
    /// Print what was made as JSON, the secret of the token included.
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where something is there already, cannot be written, or is not given and cannot be asked for.
/// Nothing is overwritten.
pub fn run(args: &InitArgs) -> Result<ExitCode> {
    let directory = args.directory.clone().unwrap_or_else(|| PathBuf::from("."));
    let file = directory.join(FILE);
    if file.exists() {
        bail!("{} is there already; nothing was changed", file.display());
    }
    let base: Base = asked(
        args.base_url.clone(),
        "--base-url",
        "The origin under which others reach the instance, such as https://social.example",
        None,
    )?;
    let data_directory = asked(
        args.data.as_ref().map(|path| path.display().to_string()),
        "--data",
        "Where everything is kept",
        Some("/var/lib/fedsx".to_owned()),
    )?;
    let data_directory = std::path::absolute(data_directory)?;
    let listen: SocketAddr = match args.listen {
        Some(listen) => listen,
        None if !std::io::stdin().is_terminal() => SocketAddr::from(([127, 0, 0, 1], 9999)),
        None => asked(
            None,
            "--listen",
            "Address and port to listen at, behind a proxy that has the certificate",
            Some(SocketAddr::from(([127, 0, 0, 1], 9999))),
        )?,
    };
    data::prepare(&data_directory)?;
    data::settle_base(&data_directory, &base)?;
    let key_made = master_key(&data_directory)?;
    let secret = secret();
    std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let text = configuration(&data_directory, &base, listen, &args.admin, &secret);
    data::write_durably(&file, text.as_bytes(), 0o600)
        .with_context(|| file.display().to_string())?;
    if args.json {
        let made = json!({
            "config": file,
            "data": data_directory,
            "base_url": base.as_str(),
            "master_key_made": key_made,
            "token": { "actor": args.admin, "secret": secret },
        });
        println!("{made}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("wrote {} (it holds a secret; its owner alone may read it)", file.display());
    if key_made {
        println!(
            "made {}: keep a copy of it apart from backups of the data",
            data_directory.join("master.key").display()
        );
    }
    println!("start the instance:  fedsx serve --config {}", file.display());
    println!("and then, with FEDSX_TOKEN={secret}");
    println!("  fedsx actor create alice");
    println!("  fedsx token issue alice");
    Ok(ExitCode::SUCCESS)
}

/// What was given, or what a person says.
fn asked<T>(given: Option<T>, flag: &str, question: &str, default: Option<T>) -> Result<T>
where
    T: Clone + FromStr + ToString,
    T::Err: Display,
{
    if let Some(given) = given {
        return Ok(given);
    }
    if !std::io::stdin().is_terminal() {
        return default.with_context(|| format!("say {flag}: nobody is there to be asked"));
    }
    let mut input = Input::<T>::new().with_prompt(question);
    if let Some(default) = default {
        input = input.default(default);
    }
    Ok(input.interact_text()?)
}

/// Makes a master key where none is in the environment or in the directory.
fn master_key(directory: &Path) -> Result<bool> {
    if data::existing_master_key(directory)?.is_some() {
        return Ok(false);
    }
    let (_, made) = MasterKey::load_or_create(&directory.join(data::MASTER_KEY_FILE), &OsRandom)?;
    Ok(made)
}

/// 256 random bits, as a token's secret.
fn secret() -> String {
    let random: &dyn Random = &OsRandom;
    format!("fedsx_{}", hex::encode(random.bytes::<32>()))
}

fn configuration(
    data: &Path,
    base: &Base,
    listen: SocketAddr,
    admin: &ActorName,
    secret: &str,
) -> String {
    let text = |text: &str| toml::Value::from(text).to_string();
    let token = format!("{admin}={secret}:publish,read,define,admin");
    let mut set = vec![
        ("data", text(&data.display().to_string())),
        ("base_url", text(base.as_str())),
        ("listen", text(&listen.to_string())),
        ("tokens", format!("[{}]", text(&token))),
    ];
    if base.as_str().starts_with("http://") {
        set.push(("allow_http", "true".to_owned()));
    }
    example::with(&set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_can_be_read() {
        let base: Base = "https://social.example".parse().expect("a base");
        let admin = "operator".parse().expect("a name");
        let listen = "[::1]:80".parse().expect("an address");
        let text = configuration(Path::new("/odd \"place\""), &base, listen, &admin, &secret());
        let config = crate::config::file::parse(&text).expect("read").settle().expect("settled");
        assert_eq!(config.data, Path::new("/odd \"place\""));
        assert_eq!(config.base_url, Some(base));
        assert_eq!(config.listen, listen);
        assert_eq!(config.tokens.len(), 1);
    }
}
