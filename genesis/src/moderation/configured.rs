//! What the configuration decides, said like any other decision.

use fedsx_kernel::refusal::Refusal;
use fedsx_kernel::{Kernel, Publish};
use serde_json::{Map, Value, json};

use super::{Action, Decision, Subject, row};

/// Why, for decisions that the configuration asks for.
const REASON: &str = "the configuration says so";

/// Makes the instance allow listed domains only, or all that are not blocked, where it does not yet.
///
/// # Errors
/// Where the decision cannot be published.
pub async fn configure(kernel: &Kernel, only_listed: bool) -> Result<(), Refusal> {
    let base = &kernel.options().base;
    let Ok(subject) = base.as_str().parse::<Subject>() else { return Ok(()) };
    let row = row(kernel.log().state(), &subject)?;
    let standing = row.get(&Action::AllowList).map(Vec::as_slice).unwrap_or_default();
    if only_listed && standing.is_empty() {
        return publish(kernel, Decision { action: Action::AllowList, subject }.request()).await;
    }
    for one in standing.iter().filter(|_| !only_listed) {
        let undo = json!({ "type": "Undo", "object": one.id });
        publish(kernel, undo.as_object().cloned().unwrap_or_default()).await?;
    }
    Ok(())
}

async fn publish(kernel: &Kernel, mut request: Map<String, Value>) -> Result<(), Refusal> {
    request.insert("reason".into(), REASON.into());
    let actor = kernel.options().instance.clone();
    let publish = Publish { actor, request, once: None, cause: None, defines: false };
    kernel.publish(publish).await.map(drop)
}
