//! `fedsx doctor`: one line for each check, and what to do where one fails.

mod certificate;
mod clocks;
mod local;
mod remote;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser};
use serde::Serialize;
use serde_json::json;

use crate::api::{Api, ApiArgs};
use crate::config::{ServeArgs, ServeConfig};

/// Options of `fedsx doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The configuration of the instance. Variables count as they do for `fedsx serve`; without file
    /// and variables, configuration and data are not looked at.
    #[arg(long, env = "FEDSX_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The running instance.
    #[command(flatten)]
    pub api: ApiArgs,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// What `fedsx serve` would be started with, by file and variables.
#[derive(Parser)]
struct Surroundings {
    #[command(flatten)]
    serve: ServeArgs,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Ok,
    /// It works, and somebody should look.
    Warn,
    /// It does not work.
    Fail,
    /// It could not be looked at.
    Skip,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    outcome: Outcome,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// All findings, in the order of the checks.
#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, check: &'static str, what: impl Into<String>) {
        self.0.push(Finding { check, outcome: Outcome::Ok, what: what.into(), advice: None });
    }

    fn add(
        &mut self,
        check: &'static str,
        outcome: Outcome,
        what: impl Into<String>,
        advice: impl Into<String>,
    ) {
        let (what, advice) = (what.into(), Some(advice.into()));
        self.0.push(Finding { check, outcome, what, advice });
    }
}

/// Runs the command. The exit code is 0 where nothing failed, 1 otherwise.
///
/// # Errors
/// Where the findings cannot be made, which says nothing about the instance.
pub fn run(args: &DoctorArgs) -> Result<ExitCode> {
    let mut findings = Findings::default();
    let config = configuration(args, &mut findings);
    if let Some(config) = &config {
        local::data_directory(config, &mut findings);
        local::disk(config, &mut findings);
    }
    remote::instance(args, config.as_ref(), &mut findings);
    let failed = findings.0.iter().any(|finding| finding.outcome == Outcome::Fail);
    if args.json {
        println!("{}", json!({ "healthy": !failed, "findings": findings.0 }));
    } else {
        for Finding { check, outcome, what, advice } in &findings.0 {
            let outcome = match outcome {
                Outcome::Ok => "ok",
                Outcome::Warn => "warn",
                Outcome::Fail => "FAIL",
                Outcome::Skip => "skip",
            };
            match advice {
                Some(advice) => println!("{outcome:<4}  {check:<14}  {what}; {advice}"),
                None => println!("{outcome:<4}  {check:<14}  {what}"),
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn configuration(args: &DoctorArgs, findings: &mut Findings) -> Option<ServeConfig> {
    const CHECK: &str = "configuration";
    let file =
        args.config.iter().flat_map(|file| ["--config".into(), file.clone().into_os_string()]);
    let serve = match Surroundings::try_parse_from(std::iter::once("fedsx".into()).chain(file)) {
        Ok(Surroundings { serve }) => serve,
        Err(error) => {
            let what = error.kind().to_string();
            findings.add(CHECK, Outcome::Fail, what, "mend the variables that begin with FEDSX_");
            return None;
        }
    };
    if serve.config.is_none() && serve.data.is_none() {
        let advice = "give --config FILE, or FEDSX_CONFIG or FEDSX_DATA";
        findings.add(CHECK, Outcome::Skip, "not looked at", advice);
        return None;
    }
    let place = serve.config.clone();
    match serve.settle() {
        Ok(config) => {
            let of =
                place.map_or_else(|| "variables".to_owned(), |file| file.display().to_string());
            findings.ok(CHECK, format!("{of} can be used"));
            Some(config)
        }
        Err(error) => {
            findings.add(CHECK, Outcome::Fail, format!("{error:#}"), "mend that line");
            None
        }
    }
}

/// The client of the checks, where the instance can be named.
fn api(args: &DoctorArgs, config: Option<&ServeConfig>) -> Result<Api> {
    let mut api = args.api.clone();
    if api.url.is_none()
        && let Some(config) = config
        && !config.listen.ip().is_unspecified()
        && config.listen.port() != 0
    {
        api.url = Some(format!("http://{}", config.listen));
    }
    Api::new(&api)
}
