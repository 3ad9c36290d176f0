//! What a running instance says, and how others reach it.

use hyper::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use super::{DoctorArgs, Findings, Outcome};
use crate::api::Api;
use crate::config::ServeConfig;

/// How far clocks may differ before somebody should look, and before peers refuse signatures, in
/// seconds.
const SKEW_S: [i64; 2] = [5, 60];

pub(super) fn instance(args: &DoctorArgs, config: Option<&ServeConfig>, findings: &mut Findings) {
    let api = match super::api(args, config) {
        Ok(api) => api,
        Err(error) => {
            findings.add("instance", Outcome::Skip, format!("{error:#}"), "nothing was asked");
            return;
        }
    };
    if !ready(&api, findings) {
        return;
    }
    match api.get("/token") {
        Ok(token) => {
            let scopes = token.get("scopes").and_then(Value::as_array);
            if scopes.is_some_and(|scopes| scopes.iter().any(|scope| scope == "admin")) {
                findings.ok("token", "may operate the instance");
                queues(&api, findings);
                projections(&api, findings);
            } else {
                let what = "lacks the scope admin, so that queues were not looked at";
                findings.add("token", Outcome::Skip, what, "give --token");
            }
        }
        Err(error) => findings.add("token", Outcome::Fail, format!("{error:#}"), "give --token"),
    }
    if let Some(base) = config.and_then(|config| config.base_url.as_ref()) {
        reachable(&api, base.as_str(), findings);
    }
}

fn ready(api: &Api, findings: &mut Findings) -> bool {
    const CHECK: &str = "instance";
    let url = api.url();
    let answer = match api.look(&format!("{url}/readyz")) {
        Ok(answer) => answer,
        Err(error) => {
            let advice = "start it, or name it by --url";
            findings.add(CHECK, Outcome::Fail, format!("{url}: {error:#}"), advice);
            return false;
        }
    };
    let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() {
        findings.ok(CHECK, format!("{url} is ready"));
    } else {
        let reasons = said.get("reasons").and_then(Value::as_array).cloned().unwrap_or_default();
        let members = |name: &str| -> Vec<_> {
            let texts = reasons.iter().filter_map(|reason| reason.get(name)?.as_str());
            texts.map(str::to_owned).collect()
        };
        let details =
            members(if said.pointer("/reasons/0/detail").is_some() { "detail" } else { "reason" });
        let what = format!("{url} is not ready: {}", details.join("; "));
        let advice = members("advice").into_iter().next();
        findings.add(
            CHECK,
            Outcome::Fail,
            what,
            advice.unwrap_or_else(|| "wait, or see its log".to_owned()),
        );
    }
    let date = answer.headers.get(DATE).and_then(|date| date.to_str().ok());
    clock(date, findings);
    true
}

#[allow(clippy::disallowed_methods, reason = "a person asks what this machine's clock says")]
fn clock(date: Option<&str>, findings: &mut Findings) {
    const CHECK: &str = "clock";
    let said = date.and_then(|date| rfc2822::DateTimeParser::new().parse_timestamp(date).ok());
    let Some(said) = said else {
        findings.add(CHECK, Outcome::Skip, "the answer has no date", "nothing was compared");
        return;
    };
    let apart = Timestamp::now().duration_since(said).as_secs().abs();
    let what = format!("this machine and the instance are {apart} s apart");
    let [some, much] = SKEW_S;
    if apart >= much {
        findings.add(CHECK, Outcome::Fail, what, "peers refuse its signatures: set the clock");
    } else if apart >= some {
        findings.add(CHECK, Outcome::Warn, what, "let the clock be set by NTP");
    } else {
        findings.ok(CHECK, what);
    }
}

fn queues(api: &Api, findings: &mut Findings) {
    const CHECK: &str = "queues";
    let count = |path: &str| -> anyhow::Result<Vec<Value>> { crate::online::peer::all(api, path) };
    match (count("/admin/dead-letter"), count("/admin/peers")) {
        (Ok(letters), Ok(peers)) => {
            let number = |peer: &Value, name: &str| peer.get(name).and_then(Value::as_u64);
            let queued: u64 = peers.iter().filter_map(|peer| number(peer, "queued")).sum();
            let failing =
                peers.iter().filter(|peer| number(peer, "failures").is_some_and(|n| n > 0)).count();
            let what = format!(
                "{queued} deliveries to {} peers wait, {failing} peers fail, {} dead letters",
                peers.len(),
                letters.len()
            );
            if letters.is_empty() && failing == 0 {
                findings.ok(CHECK, what);
            } else {
                let advice = "see fedsx peer list and fedsx dead-letter list";
                findings.add(CHECK, Outcome::Warn, what, advice);
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            findings.add(CHECK, Outcome::Fail, format!("{error:#}"), "see the instance's log");
        }
    }
}

fn projections(api: &Api, findings: &mut Findings) {
    const CHECK: &str = "projections";
    match api.get("/projections") {
        Ok(answer) => {
            let list = answer.get("projections").and_then(Value::as_array);
            let list = list.map(Vec::as_slice).unwrap_or_default();
            let aside: Vec<_> = list
                .iter()
                .filter(|one| one.get("set_aside").and_then(Value::as_u64).is_some_and(|n| n > 0))
                .filter_map(|one| one.get("name").and_then(Value::as_str))
                .collect();
            if aside.is_empty() {
                findings.ok(CHECK, format!("{} fold everything", list.len()));
            } else {
                let what = format!("{} set records aside", aside.join(", "));
                findings.add(CHECK, Outcome::Warn, what, "see fedsx projection set-aside NAME");
            }
        }
        Err(error) => {
            findings.add(CHECK, Outcome::Fail, format!("{error:#}"), "see the instance's log");
        }
    }
}

/// Asks under the name that others use: name service, certificate, proxy, and who answers.
fn reachable(api: &Api, base: &str, findings: &mut Findings) {
    const CHECK: &str = "reachability";
    let advice = "see name service, certificate and proxy";
    match api.look(&format!("{base}/.well-known/nodeinfo")) {
        Ok(answer) if answer.status.is_success() => {
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let href = said.pointer("/links/0/href").and_then(Value::as_str).unwrap_or_default();
            if href.starts_with(&format!("{base}/")) {
                findings.ok(CHECK, format!("{base} leads to the instance"));
            } else {
                let what = format!("under {base} answers something else ({href})");
                findings.add(CHECK, Outcome::Fail, what, advice);
            }
        }
        Ok(answer) => {
            findings.add(CHECK, Outcome::Fail, format!("{base} answers {}", answer.status), advice);
        }
        Err(error) => {
            findings.add(CHECK, Outcome::Fail, format!("{base}: {error:#}"), advice);
        }
    }
}
