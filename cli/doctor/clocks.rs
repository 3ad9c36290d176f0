//! What clocks say: this machine's, the instance's, and those of peers, by the Date of their answers
//! (RFC 9110, section 6.6.1).

use fedsx_delivery::client::Response;
use hyper::header::DATE;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::Value;

use super::{Findings, Outcome};
use crate::api::Api;

/// How far clocks may differ before somebody should look, and before peers refuse signatures, in
/// seconds.
const SKEW_S: [i64; 2] = [5, 60];
/// Peers that are asked.
const PEERS: usize = 5;

/// By how many seconds this machine is ahead of who answered.
#[allow(clippy::disallowed_methods, reason = "a person asks what this machine's clock says")]
fn ahead_s(answer: &Response) -> Option<i64> {
    let date = answer.headers.get(DATE)?.to_str().ok()?;
    let said = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(Timestamp::now().duration_since(said).as_secs())
}

fn judge(check: &'static str, apart_s: i64, what: String, findings: &mut Findings) {
    let [some, much] = SKEW_S;
    if apart_s >= much {
        findings.add(check, Outcome::Fail, what, "peers refuse what it says: set the clock");
    } else if apart_s >= some {
        findings.add(check, Outcome::Warn, what, "let the clock be set by NTP");
    } else {
        findings.ok(check, what);
    }
}

/// The instance, against this machine.
pub(super) fn instance(answer: &Response, findings: &mut Findings) {
    const CHECK: &str = "clock";
    match ahead_s(answer).map(i64::abs) {
        None => {
            findings.add(CHECK, Outcome::Skip, "the answer has no date", "nothing was compared")
        }
        Some(apart) => {
            let what = format!("this machine and the instance are {apart} s apart");
            judge(CHECK, apart, what, findings);
        }
    }
}

/// This machine, against the middle one of some peers: one of them may be wrong itself.
pub(super) fn peers(api: &Api, findings: &mut Findings) {
    const CHECK: &str = "peer clocks";
    let Ok(answer) = api.get("/admin/peers?limit=100") else { return };
    let listed =
        answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let reached = |peer: &&Value| peer.get("failures").and_then(Value::as_u64).unwrap_or(0) == 0;
    let origins = listed.iter().filter(reached).filter_map(|peer| peer.get("peer")?.as_str());
    let mut ahead: Vec<i64> = origins
        .take(PEERS)
        .filter_map(|origin| api.look(&format!("{origin}/.well-known/nodeinfo")).ok())
        .filter_map(|answer| ahead_s(&answer))
        .collect();
    ahead.sort_unstable();
    let Some(middle) = ahead.get(ahead.len() / 2) else {
        findings.add(CHECK, Outcome::Skip, "no peer told its time", "nothing was compared");
        return;
    };
    let what =
        format!("this machine is {middle} s ahead of the middle one of {} peers", ahead.len());
    judge(CHECK, middle.abs(), what, findings);
}
