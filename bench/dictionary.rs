//! Writes samples of what a store holds, one file each, for the dictionary of
//! `kernel/src/log/sled_store/codec.rs`: `dictionary DIR`; see `scripts/make_dictionary.sh`.
//!
//! Hosts, names and texts are random, so that the dictionary learns the forms and not these.

#![allow(clippy::disallowed_methods, reason = "a tool beside the program")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use fedsx_genesis::GenesisRules;
use fedsx_kernel::keys::{Purpose, SecretKey};
use fedsx_kernel::log::{Append, Log, LogOptions, MemoryStorage, Meta, Place, Storage};
use fedsx_kernel::pipeline::contexts;
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::{Random, Runtime, SeededRandom};
use fedsx_kernel::{Activity, ActorName, Base};
use fedsx_projections::{Context, Projections, builtin};
use serde_json::{Value, json};

const INSTANCES: usize = 40;
const ACTORS: usize = 6;
const ACTIVITIES: usize = 16;
const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";
const SYLLABLES: [&str; 24] = [
    "ba", "cor", "di", "en", "fo", "gra", "hu", "in", "ka", "lo", "ma", "ne", "or", "pli", "qui",
    "ra", "se", "tu", "ul", "ver", "wo", "xe", "yn", "zo",
];

struct Dice(SeededRandom);

impl Dice {
    fn below(&self, bound: usize) -> usize {
        let random = u64::from_be_bytes((&self.0 as &dyn Random).bytes());
        usize::try_from(random % bound.max(1) as u64).unwrap_or(0)
    }

    fn word(&self) -> String {
        (0..=self.below(3))
            .filter_map(|_| SYLLABLES.get(self.below(SYLLABLES.len())))
            .copied()
            .collect()
    }

    fn text(&self, most: usize) -> String {
        let words: Vec<String> = (0..=self.below(most)).map(|_| self.word()).collect();
        words.join(" ")
    }

    fn hex(&self) -> String {
        (&self.0 as &dyn Random).bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

struct Author {
    name: ActorName,
    id: String,
    key: SecretKey,
    key_id: String,
    seq: u64,
}

struct Samples {
    directory: PathBuf,
    count: usize,
}

impl Samples {
    fn add(&mut self, value: &[u8]) -> Result<()> {
        if value.len() >= 64 {
            fs::write(self.directory.join(format!("{:06}", self.count)), value)?;
            self.count += 1;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let directory: PathBuf = std::env::args().nth(1).context("dictionary DIR")?.into();
    fs::create_dir_all(&directory)?;
    let mut samples = Samples { directory, count: 0 };
    let dice = Dice(SeededRandom::new(1));
    for _ in 0..INSTANCES {
        instance(&dice, &mut samples).await?;
    }
    println!("{} samples", samples.count);
    Ok(())
}

/// Lets an instance live, and takes what it stored.
async fn instance(dice: &Dice, samples: &mut Samples) -> Result<()> {
    let base: Base = format!("https://{}{}.{}", dice.word(), dice.word(), dice.word()).parse()?;
    let storage = Arc::new(MemoryStorage::default());
    let rules = Arc::new(GenesisRules::new(base.clone(), "instance".parse()?));
    let runtime = Runtime::system();
    let log = Log::open(storage.clone(), rules, runtime.clone(), &LogOptions::default())?;
    let mut authors = Vec::new();
    for _ in 0..ACTORS {
        authors.push(create(&log, &base, dice, &runtime).await?);
    }
    let ids: Vec<String> = authors.iter().map(|author| author.id.clone()).collect();
    let mut said: Vec<(String, String)> = Vec::new();
    for _ in 0..ACTIVITIES {
        for author in &mut authors {
            let other = ids.get(dice.below(ids.len())).context("an actor")?.clone();
            let (kind, object) = activity(dice, &base, author, &other, &said);
            let id = publish(&log, &runtime, author, kind, object.clone()).await?;
            if kind == "Create" {
                let object = object.get("id").and_then(Value::as_str).unwrap_or_default();
                said.push((id, object.to_owned()));
            }
            let from = elsewhere(dice, author)?;
            let place = Place::Inboxes(vec![author.name.clone()]);
            let meta = Meta {
                received_ms: 1_790_000_000_000 + i64::try_from(dice.below(10_000_000))?,
                origin: fedsx_kernel::origin_of(from.actor()),
                verified_by: Some(format!("http-signature:{}#main-key", from.actor())),
                ..Meta::default()
            };
            log.append(Append { activity: Arc::new(from), place, meta, once: None, guard: None })
                .await?;
        }
    }
    let context = Context { base };
    let table = storage.projections();
    let projections =
        Projections::open(table.clone(), log.clone(), runtime, context, builtin()).await?;
    while !projections.caught_up() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    projections.shutdown().await;
    let store = storage.log();
    for entry in store.read(0, usize::MAX)?.into_iter().filter(|entry| entry.first) {
        // In proportion to what it takes in a store.
        let body = store.body(&entry.cid)?.context("a body")?;
        samples.add(&serde_ipld_dagcbor::to_vec(&body)?)?;
    }
    for (_, value) in store.state().scan("", None, usize::MAX)? {
        samples.add(&serde_ipld_dagcbor::to_vec(&value)?)?;
    }
    for (_, value) in table.scan(b"", None, usize::MAX)? {
        samples.add(&value)?;
    }
    Ok(())
}

async fn create(log: &Log, base: &Base, dice: &Dice, runtime: &Runtime) -> Result<Author> {
    let name: ActorName = format!("{}{}", dice.word(), dice.word()).parse()?;
    let id = base.actor(&name);
    let key = SecretKey::generate_ed25519(&dice.0);
    let multikey = key.public().to_multibase().context("a Multikey")?;
    let key_id = format!("{id}#{multikey}");
    let mut author = Author { name, id, key, key_id, seq: 0 };
    let object = json!({
        "id": author.id, "type": "Person", "preferredUsername": author.name.as_str(),
        "name": dice.text(3), "summary": dice.text(20),
        "inbox": format!("{}/inbox", author.id), "outbox": format!("{}/outbox", author.id),
        "followers": format!("{}/followers", author.id),
        "following": format!("{}/following", author.id),
        "endpoints": { "sharedInbox": format!("{base}/inbox") },
        "publicKey": {
            "id": format!("{}#main-key", author.id), "owner": author.id,
            "publicKeyPem": format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                dice.hex()),
        },
        "assertionMethod": [{
            "id": author.key_id, "type": "Multikey", "controller": author.id,
            "publicKeyMultibase": multikey,
            "purposes": [Purpose::SignActivity, Purpose::HttpSignature],
        }],
    });
    publish(log, runtime, &mut author, "Create", object).await?;
    Ok(author)
}

fn activity(
    dice: &Dice,
    base: &Base,
    author: &Author,
    other: &str,
    said: &[(String, String)],
) -> (&'static str, Value) {
    let earlier = said.get(dice.below(said.len()));
    match (dice.below(12), earlier) {
        (0, _) => ("Follow", json!(other)),
        (1, Some((id, _))) => ("Announce", json!(id)),
        (2, Some((id, _))) => ("Endorse", json!(id)),
        (3, Some((_, object))) => ("Like", json!(object)),
        (4, Some((_, object))) => ("Delete", json!({ "id": object, "type": "Tombstone" })),
        (kind, earlier) => {
            let mut note = json!({
                "id": format!("{base}/objects/{}", dice.hex()), "type": "Note",
                "attributedTo": author.id, "content": dice.text(60),
            });
            if let Value::Object(note) = &mut note {
                if kind < 7 {
                    note.insert("published".into(), "2026-10-13T07:21:44Z".into());
                    note.insert("to".into(), json!([PUBLIC]));
                    note.insert("cc".into(), json!([format!("{}/followers", author.id)]));
                }
                if let (5, Some((id, _))) = (kind, earlier) {
                    note.insert("inReplyTo".into(), id.as_str().into());
                    note.insert("tag".into(), json!([{ "type": "Mention", "href": other }]));
                }
                if kind == 6 {
                    note.insert("summary".into(), dice.text(8).into());
                    let tag = json!([{ "type": "Hashtag", "name": format!("#{}", dice.word()) }]);
                    note.insert("tag".into(), tag);
                }
            }
            ("Create", note)
        }
    }
}

async fn publish(
    log: &Log,
    runtime: &Runtime,
    author: &mut Author,
    kind: &str,
    object: Value,
) -> Result<String> {
    let now = runtime.clock.now();
    let salt: String = runtime.random.bytes::<16>().iter().map(|b| format!("{b:02x}")).collect();
    let content = json!({
        "@context": contexts(), "type": kind, "actor": author.id,
        "published": fedsx_kernel::pipeline::seconds(now),
        "epoch": 0, "seq": author.seq, "salt": salt,
        "to": [PUBLIC], "cc": [format!("{}/followers", author.id)], "object": object,
    });
    let Value::Object(content) = content else { anyhow::bail!("not an object") };
    let activity = Activity::seal(content)?;
    let options = SignOptions { verification_method: &author.key_id, created: now };
    let random = runtime.random.as_ref();
    let proof = proof::sign(activity.document(), &author.key, &options, random)?;
    let activity = Arc::new(activity.with_proof(proof));
    let (id, place) = (activity.id().to_owned(), Place::Outbox(author.name.clone(), author.seq));
    let meta = Meta { received_ms: now.as_millisecond(), ..Meta::default() };
    log.append(Append { activity, place, meta, once: None, guard: None }).await?;
    author.seq += 1;
    Ok(id)
}

/// What other software sends.
fn elsewhere(dice: &Dice, to: &Author) -> Result<Activity> {
    let host = format!("https://{}{}.{}", dice.word(), dice.word(), dice.word());
    let actor = format!("{host}/users/{}", dice.word());
    let number = dice.below(usize::MAX);
    let note = format!("{actor}/statuses/{number}");
    let document = match dice.below(5) {
        0 => json!({ "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{host}/{}", dice.hex()), "type": "Follow", "actor": actor, "object": to.id }),
        1 => json!({ "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{actor}#likes/{number}"), "type": "Like", "actor": actor, "object": to.id }),
        2 => json!({ "@context": "https://www.w3.org/ns/activitystreams",
            "id": format!("{actor}/statuses/{number}/activity"), "type": "Announce", "actor": actor,
            "published": "2026-10-13T07:21:44Z", "to": [PUBLIC],
            "cc": [to.id, format!("{actor}/followers")], "object": to.id }),
        _ => json!({
            "@context": ["https://www.w3.org/ns/activitystreams", {
                "ostatus": "http://ostatus.org#", "atomUri": "ostatus:atomUri",
                "inReplyToAtomUri": "ostatus:inReplyToAtomUri",
                "conversation": "ostatus:conversation", "sensitive": "as:sensitive",
                "toot": "http://joinmastodon.org/ns#", "votersCount": "toot:votersCount",
            }],
            "id": format!("{note}/activity"), "type": "Create", "actor": actor,
            "published": "2026-10-13T07:21:44Z", "to": [PUBLIC],
            "cc": [format!("{actor}/followers"), to.id],
            "object": {
                "id": note, "type": "Note", "summary": null, "inReplyTo": null,
                "published": "2026-10-13T07:21:44Z", "url": note, "attributedTo": actor,
                "to": [PUBLIC], "cc": [format!("{actor}/followers"), to.id],
                "sensitive": false, "atomUri": note, "inReplyToAtomUri": null,
                "conversation": format!("tag:{number}:objectType=Conversation"),
                "content": format!("<p>{}</p>", dice.text(60)),
                "contentMap": { "en": format!("<p>{}</p>", dice.text(60)) },
                "attachment": [],
                "tag": [{ "type": "Mention", "href": to.id, "name": format!("@{}", to.name) }],
                "replies": { "id": format!("{note}/replies"), "type": "Collection", "first": {
                    "type": "CollectionPage", "next": format!("{note}/replies?only_other_accounts=true&page=true"),
                    "partOf": format!("{note}/replies"), "items": [] } },
            },
        }),
    };
    Ok(Activity::from_document(document)?)
}
