//! A history that a test writes itself, to be told rightly or wrongly.

use std::path::Path;

use fedsx::archive::car::CarWriter;
use fedsx::archive::{Checkpoint, Chunk, ChunkWriter, FORMAT, Root, Streams, VERSION, format};
use fedsx_genesis::actor_keys;
use fedsx_kernel::keys::{KeyHistory, SecretKey};
use fedsx_kernel::log::Meta;
use fedsx_kernel::merkle::{self, Frontier, TreeHash};
use fedsx_kernel::proof::{self, SignOptions};
use fedsx_kernel::runtime::OsRandom;
use fedsx_kernel::{Activity, Cid, canonical};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::support::peer::{multikey, new_key, now};

const BASE: &str = "https://archive.example";

/// An actor and what it said.
#[derive(Clone)]
pub struct Story {
    actor: String,
    keys: Vec<(String, SecretKey)>,
    pub epoch: u64,
    pub seq: u64,
    pub activities: Vec<Value>,
}

impl Story {
    /// With the actor's Create.
    pub fn begin() -> Self {
        let actor = format!("{BASE}/actors/alice");
        let keys = vec![new_key(&actor)];
        let mut story = Self { actor, keys, epoch: 0, seq: 0, activities: Vec::new() };
        let document = story.document();
        story.say("Create", document, json!({}), 0);
        story
    }

    /// The actor document with the newest key.
    fn document(&self) -> Value {
        let (id, key) = self.keys.last().expect("a key");
        json!({
            "id": self.actor,
            "type": "Person",
            "preferredUsername": "alice",
            "inbox": format!("{}/inbox", self.actor),
            "outbox": format!("{}/outbox", self.actor),
            "assertionMethod": [multikey(&self.actor, id, key)],
        })
    }

    /// A Note by the newest key.
    pub fn note(&mut self, content: &str) {
        self.note_by(content, self.keys.len() - 1);
    }

    /// A Note by some key.
    pub fn note_by(&mut self, content: &str, key: usize) {
        let id = format!("{BASE}/objects/{:032x}", self.activities.len());
        let note = json!({ "id": id, "type": "Note", "content": content });
        self.say("Create", note, json!({ "to": [crate::support::PUBLIC] }), key);
    }

    /// A Note under the name of another actor.
    pub fn note_of(&mut self, actor: &str) {
        let own = std::mem::replace(&mut self.actor, actor.to_owned());
        self.note("as somebody else");
        self.actor = own;
    }

    /// A new key in the place of the newest, by the newest.
    pub fn rotate(&mut self) {
        self.keys.push(new_key(&self.actor));
        self.state_rotation(self.keys.len() - 2);
    }

    /// A new key that introduces itself.
    pub fn rotate_by_stranger(&mut self) {
        self.keys.push(new_key(&self.actor));
        self.state_rotation(self.keys.len() - 1);
    }

    fn state_rotation(&mut self, signer: usize) {
        let [.., (old, _), (new, key)] = self.keys.as_slice() else { panic!("two keys") };
        let patch = json!({
            "add_publicKey": multikey(&self.actor, new, key),
            "supersede": { "old": old, "new": new },
        });
        let document = self.document();
        self.say("Update", document, json!({ "patch": patch }), signer);
    }

    fn say(&mut self, kind: &str, object: Value, more: Value, key: usize) {
        let mut content = Map::new();
        content.insert("@context".into(), json!("https://www.w3.org/ns/activitystreams"));
        content.insert("type".into(), kind.into());
        content.insert("actor".into(), self.actor.clone().into());
        content.insert("published".into(), now().into());
        content.insert("epoch".into(), self.epoch.into());
        content.insert("seq".into(), self.seq.into());
        content.insert("salt".into(), format!("{:032x}", self.activities.len()).into());
        content.insert("object".into(), object);
        content.extend(more.as_object().expect("an object").clone());
        let activity = Activity::seal(content).expect("an activity");
        let (method, key) = &self.keys[key];
        let options = SignOptions { verification_method: method, created: Timestamp::now() };
        let proof = proof::sign(activity.document(), key, &options, &OsRandom).expect("a proof");
        self.activities.push(activity.with_proof(proof).to_value());
        self.seq += 1;
    }

    /// Writes it as an archive, after a change to the listing.
    pub fn write(&self, path: &Path, change: impl FnOnce(&mut Root, &mut Vec<Chunk>)) {
        self.write_all(path, change, None);
    }

    /// Writes it without the block of one statement.
    pub fn write_without(&self, path: &Path, missing: usize) {
        self.write_all(path, |_, _| (), Some(missing));
    }

    fn write_all(
        &self,
        path: &Path,
        change: impl FnOnce(&mut Root, &mut Vec<Chunk>),
        missing: Option<usize>,
    ) {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut draft = CarWriter::create(&scratch.path().join("draft")).expect("a file");
        let mut car = CarWriter::create(path).expect("a file");
        let mut writer = ChunkWriter::new("outbox");
        let (mut tree, mut keys, mut document) =
            (Frontier::new(), KeyHistory::default(), Value::Null);
        for (index, value) in self.activities.iter().enumerate() {
            // What was changed after it was signed keeps the place of the original in the file.
            let mut hashed = value.as_object().expect("an object").clone();
            let proof = hashed.remove("proof").map(|proof| proof.to_string());
            hashed.remove("id");
            let block = canonical::to_dag_cbor(&Value::Object(hashed)).expect("a block");
            let cid = Cid::of_block(&block);
            if missing != Some(index) {
                car.put(&cid, &block).expect("written");
            }
            writer.body(&mut draft, &cid, proof, Meta::default()).expect("listed");
            tree.push(TreeHash::leaf(&cid.to_bytes()));
            let mut own = value.clone();
            own["id"] = format!("{BASE}/activities/{cid}").into();
            let activity = Activity::from_document(own).expect("an activity");
            if actor_keys::concerns_author(&activity) && activity.actor() == self.actor {
                // A listing of a wrong history is as right as can be.
                let _ = actor_keys::fold_keys(&mut keys, &activity);
                document = activity.object().expect("an object").clone();
            }
        }
        let list = writer.finish(&mut draft).expect("listed");
        drop(draft);
        let mut chunks = read_chunks(&scratch.path().join("draft"), &list.chunks);
        let log = format!("{}/log", self.actor);
        let checkpoint = merkle::Checkpoint {
            origin: merkle::origin_of_log(&log).to_owned(),
            size: tree.size(),
            root: tree.root(),
            extensions: Vec::new(),
        };
        let (_, key) = self.keys.last().expect("a key");
        let note = checkpoint.sign(key, &OsRandom).expect("signed").to_string();
        let mut root = Root {
            format: FORMAT.into(),
            version: VERSION,
            software: "a test".into(),
            exported_at: now(),
            base: BASE.into(),
            actor: self.actor.clone(),
            document,
            keys: keys.all().to_vec(),
            checkpoint: Checkpoint {
                origin: checkpoint.origin,
                size: checkpoint.size,
                root: checkpoint.root,
                note: Some(note),
            },
            streams: Streams { outbox: list, inbox: None },
        };
        change(&mut root, &mut chunks);
        root.streams.outbox.chunks.clear();
        for chunk in &chunks {
            let (cid, block) = format::encode(chunk).expect("encoded");
            car.put(&cid, &block).expect("written");
            root.streams.outbox.chunks.push(format::link(&cid).expect("a link"));
        }
        let (cid, block) = format::encode(&root).expect("encoded");
        car.put(&cid, &block).expect("written");
        car.finish(&cid).expect("finished");
    }
}

/// Reads the chunks of a draft, which has no root: section by section.
fn read_chunks(path: &Path, links: &[format::Link]) -> Vec<Chunk> {
    let bytes = std::fs::read(path).expect("the draft");
    let mut chunks = Vec::new();
    let mut rest = bytes.as_slice();
    let mut header = true;
    while !rest.is_empty() {
        let (length, after) = unsigned_varint::decode::usize(rest).expect("a length");
        let (section, after) = after.split_at(length);
        rest = after;
        if std::mem::take(&mut header) {
            continue;
        }
        chunks.push(format::decode(&section[36..]).expect("a chunk"));
    }
    assert_eq!(chunks.len(), links.len());
    chunks
}
