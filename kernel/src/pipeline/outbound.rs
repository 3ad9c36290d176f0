//! From a publish request to a signed activity.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::activity::Activity;
use crate::address::ActorName;
use crate::cid::Cid;
use crate::kernel::Shared;
use crate::keys::{Material, Purpose, SecretKey};
use crate::proof::{self, SignOptions};
use crate::refusal::{Problem, Refusal};
use crate::rules::{Direction, Judgement, NewKey, Prepared, Preparing};

/// A publish request on its way to becoming an activity.
pub(crate) struct Work {
    pub name: ActorName,
    pub actor: String,
    pub request: Map<String, Value>,
    pub new_keys: Vec<NewKey>,
    pub defines: bool,
    pub cause: Option<Cid>,
}

/// A signed activity that is ready to be appended.
pub(crate) struct Ready {
    pub activity: Arc<Activity>,
    pub judgement: Judgement,
    pub hidden: Vec<String>,
    pub barrier: bool,
}

/// Generates the keys that the request needs, or takes those that it brings; their private halves are durable when it returns.
pub(crate) async fn generate_keys(shared: &Arc<Shared>, work: &mut Work) -> Result<(), Refusal> {
    let wishes = shared.rules.keys_wanted(shared.log.state(), &work.actor, &work.request)?;
    if wishes.is_empty() {
        return Ok(());
    }
    let known = shared.rules.keys(shared.log.state(), &work.actor)?.unwrap_or_default();
    for wish in wishes {
        let (random, wanted) = (shared.runtime.random.clone(), wish.clone());
        let ring = shared.ring.clone();
        let generated = shared
            .runtime
            .run(move || match wanted.given {
                Some(given) => Ok(given),
                None => ring.make(wanted.algorithm, random.as_ref()),
            })
            .await
            .map_err(|e| internal(&e))?
            .map_err(|e| internal(&e))?;
        let public = generated.public();
        let id = match public.to_multibase() {
            // As `did:key` does, a Multikey names itself.
            Some(multikey) => format!("{}#{multikey}", work.actor),
            None => {
                // Other servers expect the first RSA key under this name.
                let usual = format!("{}#main-key", work.actor);
                match known.find(&usual) {
                    None => usual,
                    Some(_) => {
                        let bits = shared.runtime.random.bytes::<8>();
                        format!("{}#rsa-{}", work.actor, hex::encode(bits))
                    }
                }
            }
        };
        shared.ring.keep(&id, &generated, shared.runtime.random.as_ref())?;
        work.new_keys.push(NewKey { id, wish, public });
    }
    shared.log.sync().await?;
    Ok(())
}

/// Prepares, positions, judges and signs.
pub(crate) fn build(
    shared: &Shared,
    work: &Work,
    seq: u64,
    cached: &mut Option<(String, SecretKey)>,
) -> Result<Ready, Refusal> {
    let now = shared.runtime.clock.now();
    let state = shared.log.state();
    let prepared = shared.rules.prepare(
        &Preparing {
            name: &work.name,
            actor: &work.actor,
            base: &shared.options.base,
            state,
            defines: work.defines,
            cause: work.cause.as_ref(),
            log: &shared.log,
            now,
            object_random: shared.runtime.random.bytes(),
            new_keys: &work.new_keys,
        },
        work.request.clone(),
    )?;
    let Prepared { content, hidden, signing_key, barrier } = prepared;
    let content = complete(shared, &work.actor, content, seq, now)?;
    let activity = Activity::seal(content)
        .map_err(|e| Refusal::new(Problem::InvalidActivity, e.to_string()))?;
    let judgement = shared.rules.judge(state, &activity, Direction::Outbound)?;
    let key_id = match signing_key {
        Some(id) => id,
        None => current_key(shared, work)?,
    };
    let fits = cached.as_ref().is_some_and(|(id, _)| *id == key_id);
    if !fits {
        *cached = Some((key_id.clone(), shared.ring.secret(&key_id)?));
    }
    let Some((_, key)) = cached else {
        return Err(Refusal::new(Problem::Internal, "no signing key"));
    };
    let options = SignOptions { verification_method: &key_id, created: now };
    let proof = proof::sign(activity.document(), key, &options, shared.runtime.random.as_ref())
        .map_err(|e| internal(&e))?;
    let activity = Arc::new(activity.with_proof(proof));
    Ok(Ready { activity, judgement, hidden, barrier })
}

fn current_key(shared: &Shared, work: &Work) -> Result<String, Refusal> {
    let introduced =
        work.new_keys.iter().find(|key| key.wish.purposes.contains(&Purpose::SignActivity));
    let known = shared.rules.keys(shared.log.state(), &work.actor)?;
    // The newest key that is valid; where the actor is only now created, the one just made.
    let current = known.as_ref().and_then(|history| {
        history
            .current(Purpose::SignActivity)
            .filter(|key| matches!(key.material, Material::Multikey { .. }))
            .max_by_key(|key| key.valid_from)
            .map(|key| key.id.clone())
    });
    current.or_else(|| introduced.map(|key| key.id.clone())).ok_or_else(|| {
        Refusal::new(
            Problem::UnknownActor,
            format!(
                "{} does not exist yet; publish Create with a Person, Service or Group",
                work.name
            ),
        )
    })
}

/// Adds what every activity of ours has.
fn complete(
    shared: &Shared,
    actor: &str,
    mut content: Map<String, Value>,
    seq: u64,
    now: Timestamp,
) -> Result<Map<String, Value>, Refusal> {
    let more = content.remove("@context");
    content.insert("@context".into(), context(more));
    content.insert("actor".into(), actor.into());
    content.insert("published".into(), seconds(now).into());
    content.insert("epoch".into(), shared.options.epoch.into());
    content.insert("seq".into(), seq.into());
    content.insert("salt".into(), hex::encode(shared.runtime.random.bytes::<16>()).into());
    match crate::json::normalise(Value::Object(content)) {
        Ok(Value::Object(content)) => Ok(content),
        Ok(_) => Err(Refusal::new(Problem::Internal, "an activity is an object")),
        Err(e) => Err(Refusal::new(Problem::MalformedJson, e.to_string())),
    }
}

/// A time in whole seconds, as other servers expect it.
pub fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

/// The contexts of everything that we publish: ActivityStreams, Data Integrity, and our own
/// terms inline.
pub fn contexts() -> Vec<Value> {
    vec![
        json!("https://www.w3.org/ns/activitystreams"),
        json!("https://w3id.org/security/data-integrity/v1"),
        json!({
            "fedsx": "urn:fedsx:ns:",
            "epoch": "fedsx:epoch",
            "salt": "fedsx:salt",
            "seq": "fedsx:seq",
        }),
    ]
}

fn context(more: Option<Value>) -> Value {
    let mut context = contexts();
    let more = match more {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(one) => vec![one],
    };
    for item in more {
        if !context.contains(&item) {
            context.push(item);
        }
    }
    Value::Array(context)
}

fn internal(error: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(Problem::Internal, error.to_string())
}
