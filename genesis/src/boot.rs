//! First boot: the bundle takes effect, the instance actor comes to be, and the runtime verbs
//! are published into the log. Every step is unique by a once key, so boot can be repeated.

use fedsx_kernel::log::{Once, Stream};
use fedsx_kernel::refusal::{Problem, Refusal};
use fedsx_kernel::rules::Hosted;
use fedsx_kernel::{Kernel, Publish};
use serde_json::{Map, Value, json};

use crate::bundle::Verified;
use crate::records::GENESIS_ACTIVATED;

/// Brings a verified bundle into force.
pub async fn boot(kernel: &Kernel, bundle: &Verified) -> Result<(), Refusal> {
    activate(kernel, bundle).await?;
    let instance = kernel.options().instance.clone();
    if kernel.rules().hosted(kernel.log().state(), &instance)? == Hosted::Absent {
        let request = json!({
            "type": "Create",
            "object": {
                "type": "Application",
                "name": kernel.options().base.authority(),
                "summary": "The actor of this instance itself.",
            },
        });
        publish(kernel, request, "genesis\ninstance".into()).await?;
        tracing::info!(actor = %instance, "the instance actor was created");
    }
    for entry in &bundle.runtime {
        let document = entry.definition.document();
        let request = json!({
            "type": document.get("type").cloned().unwrap_or(Value::Null),
            "object": document,
        });
        let name = entry.definition.name();
        publish(kernel, request, format!("genesis\n{name}\n{}", entry.cid)).await?;
    }
    Ok(())
}

/// Changes an empty admission state as the first boot does, for trials: what the bundle defines is
/// in force, nobody exists.
pub fn assume(
    rules: &crate::GenesisRules,
    base: &fedsx_kernel::Base,
    state: &mut dyn fedsx_kernel::state::State,
    bundle: &Verified,
) -> Result<(), Refusal> {
    rules.assume_record(base, state, Stream::Local, activation(bundle))?;
    for entry in &bundle.runtime {
        rules.assume(base, state, &entry.definition)?;
    }
    Ok(())
}

/// The record by which a bundle takes effect.
fn activation(bundle: &Verified) -> Map<String, Value> {
    let definitions: Map<String, Value> = bundle
        .definitions
        .iter()
        .map(|entry| {
            let value = json!({
                "cid": entry.definition.cid().to_string(),
                "document": entry.definition.document(),
            });
            (entry.path.clone(), value)
        })
        .collect();
    let mut content = Map::new();
    content.insert("type".into(), GENESIS_ACTIVATED.into());
    content.insert(
        "object".into(),
        json!({ "bundle": bundle.cid.to_string(), "definitions": definitions }),
    );
    content
}

async fn activate(kernel: &Kernel, bundle: &Verified) -> Result<(), Refusal> {
    let content = activation(bundle);
    let once = Once { key: format!("genesis\n{}", bundle.cid), fingerprint: None };
    kernel.record(content, Some(once)).await.map(|_| ())
}

async fn publish(kernel: &Kernel, request: Value, once: String) -> Result<(), Refusal> {
    let Value::Object(request) = request else {
        return Err(Refusal::new(Problem::Internal, "a request is an object"));
    };
    let publish = Publish {
        actor: kernel.options().instance.clone(),
        request,
        once: Some(Once { key: once, fingerprint: None }),
        cause: None,
        defines: true,
    };
    kernel.publish(publish).await.map(|_| ())
}
