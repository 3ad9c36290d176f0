//! What a running instance says, and how others reach it.

use serde_json::Value;

use super::{DoctorArgs, Findings, Outcome, certificate, clocks};
use crate::api::Api;
use crate::config::ServeConfig;

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
                equivocations(&api, findings);
                clocks::peers(&api, findings);
            } else {
                let what = "lacks the scope admin, so that queues were not looked at";
                findings.add("token", Outcome::Skip, what, "give --token");
            }
        }
        Err(error) => findings.add("token", Outcome::Fail, format!("{error:#}"), "give --token"),
    }
    if let Some(base) = config.and_then(|config| config.base_url.as_ref()) {
        reachable(&api, base.as_str(), findings);
        certificate::expiry(base, findings);
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
    clocks::instance(&answer, findings);
    true
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

/// Two statements of one author under one number, as they were received here.
fn equivocations(api: &Api, findings: &mut Findings) {
    const CHECK: &str = "equivocations";
    match api.get("/admin/equivocations?limit=1") {
        Ok(answer) => match answer.get("total").and_then(Value::as_u64).unwrap_or(0) {
            0 => findings.ok(CHECK, "no author said two things under one number"),
            count => {
                let what = format!("{count} times an author said two things under one number");
                let advice =
                    "see /admin/equivocations; tell who operates that instance that it runs twice";
                findings.add(CHECK, Outcome::Warn, what, advice);
            }
        },
        Err(error) => {
            findings.add(CHECK, Outcome::Fail, format!("{error:#}"), "see the instance's log");
        }
    }
}

/// The name of the process that answers at a URL.
fn run_at(api: &Api, url: &str) -> Option<String> {
    let answer = api.look(&format!("{url}/.well-known/sx-capabilities")).ok()?;
    let said: Value = serde_json::from_slice(&answer.body).ok()?;
    said.get("run").and_then(Value::as_str).filter(|run| !run.is_empty()).map(str::to_owned)
}

/// Asks under the name that others use: name service, certificate, proxy, and who answers.
fn reachable(api: &Api, base: &str, findings: &mut Findings) {
    const CHECK: &str = "reachability";
    let advice = "see name service, certificate and proxy";
    match api.look(&format!("{base}/.well-known/nodeinfo")) {
        Ok(answer) if answer.status.is_success() => {
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let href = said.pointer("/links/0/href").and_then(Value::as_str).unwrap_or_default();
            let (here, there) = (run_at(api, api.url()), run_at(api, base));
            if here.is_some() && there.is_some() && here != there {
                let what = format!("under {base} answers another process than at {}", api.url());
                let advice =
                    "one of them was moved or copied: see plans/operations.md, and end one";
                findings.add(CHECK, Outcome::Fail, what, advice);
            } else if href.starts_with(&format!("{base}/")) {
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
