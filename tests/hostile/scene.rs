//! The instance, the servers around it, and what may not change.
//!
//! At `peer` live mallory and trent, `rotated` (whose first key signed the statements 0 to 9),
//! `weak` (whose RSA key is too small), `twisted` (whose document lists keys that are not its own), `gone`
//! (which deleted itself) and `blocked` (whom alice blocks). `elsewhere` is the home of eve. The
//! whole origin `banned` is blocked by the instance.

use std::collections::BTreeMap;

use fedsx_kernel::keys::SecretKey;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::case::{Case, Form, Http, Proof, Scheme, fill, fill_all, merge};
use super::signing::{self, ToSign};
use crate::actor_lifecycle::encoded;
use crate::support::node::{Node, Spec};
use crate::support::peer::{Foreign, SigningKey, new_key, now, rsa, unique};
use crate::support::{Answer, PUBLIC, Peer, Sign};

pub struct Scene {
    pub node: Node,
    peers: Vec<Peer>,
    actors: BTreeMap<String, Foreign>,
    keys: BTreeMap<String, (String, SecretKey)>,
    small: rsa::RsaPrivateKey,
    values: BTreeMap<String, String>,
    last: Vec<u8>,
}

/// A place in an author's statements, as key histories have it.
fn place(seq: u64) -> Value {
    json!({ "epoch": 0, "seq": seq, "time_ms": 0 })
}

impl Scene {
    /// Sets the scene.
    pub fn set() -> Self {
        let mut spec = Spec::default()
            .token(&format!("instance={}:publish,read,admin", crate::support::secret("instance")));
        let unlimited = ["--requests-per-second", "0", "--actor-requests-per-second", "0"];
        spec.args.extend(unlimited.map(str::to_owned));
        spec.args.extend(["--fetch-pause", "1ms"].map(str::to_owned));
        let node = spec.start();
        let peers = [Peer::start(), Peer::start(), Peer::start()].into_iter().collect();
        let small = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).expect("a small key");
        let mut scene = Self {
            node,
            peers,
            actors: BTreeMap::new(),
            keys: BTreeMap::new(),
            small,
            values: BTreeMap::new(),
            last: Vec::new(),
        };
        scene.name_everything();
        scene.introduce();
        scene.tell_the_story();
        scene
    }

    pub fn actor(&self, name: &str) -> &Foreign {
        self.actors.get(name).unwrap_or_else(|| panic!("an actor called {name}"))
    }

    fn value(&mut self, name: &str, value: impl Into<String>) {
        self.values.insert(name.to_owned(), value.into());
    }

    fn name_everything(&mut self) {
        for (index, name) in ["peer", "elsewhere", "banned"].into_iter().enumerate() {
            let base = self.peers[index].base.clone();
            self.value(&format!("{name}_authority"), base.trim_start_matches("http://"));
            self.value(&format!("{name}_port"), self.peers[index].port().to_string());
            self.value(name, base);
        }
        let base = self.node.base.clone();
        self.value("authority", base.trim_start_matches("http://"));
        self.value("port", self.node.port().to_string());
        self.value("node", base);
        self.value("public", PUBLIC);
        for name in ["alice", "bob", "carol", "dave", "instance"] {
            self.value(name, self.node.actor(name));
        }
    }

    fn introduce(&mut self) {
        for (at, name) in [
            (0, "mallory"),
            (0, "trent"),
            (0, "rotated"),
            (0, "weak"),
            (0, "twisted"),
            (0, "gone"),
            (0, "blocked"),
            (0, "ghost"),
            (1, "eve"),
            (2, "ban"),
        ] {
            let foreign = self.peers[at].actor(name);
            self.value(name, foreign.id.clone());
            self.value(&format!("{name}_key"), foreign.key_id.clone());
            self.actors.insert(name.to_owned(), foreign);
        }
        let peer = &self.peers[0];
        peer.remove("/actors/ghost");

        let rotated = &self.actors["rotated"];
        let (new_id, new) = new_key(&rotated.id);
        let key = |id: &str, key: &SecretKey, from: u64, until: Option<u64>| {
            let mut key = json!({
                "id": id,
                "controller": rotated.id,
                "publicKeyMultibase": key.public().to_multibase(),
                "purposes": ["sign-activity", "http-signature"],
                "validFrom": place(from),
            });
            if let Some(until) = until {
                key["validUntil"] = place(until);
                key["revoked"] = json!("2026-01-01T00:00:00Z");
            }
            key
        };
        let history =
            [key(&rotated.key_id, &rotated.key, 0, Some(9)), key(&new_id, &new, 10, None)];
        let mut document = rotated.document();
        document["keys"] = json!(format!("{}/keys", rotated.id));
        document["assertionMethod"] = json!([history[1]]);
        peer.serve("/actors/rotated", document);
        let collection = json!({ "type": "OrderedCollection", "orderedItems": history });
        peer.serve("/actors/rotated/keys", collection);
        self.keys.insert("rotated-new".to_owned(), (new_id, new));

        let mut document = self.actors["weak"].document();
        let pem = self.small.to_public_key().to_public_key_pem(LineEnding::LF).expect("PEM");
        document["publicKey"]["publicKeyPem"] = json!(pem);
        peer.serve("/actors/weak", document);

        // Keys of a document count only where they say themselves that they are its actor's.
        let (mallory, twisted) = (&self.actors["mallory"], &self.actors["twisted"]);
        let mut document = twisted.document();
        document["publicKey"]["owner"] = json!(mallory.id);
        document["assertionMethod"][0]["controller"] = json!(mallory.id);
        peer.serve("/actors/twisted", document);
        let stray = new_key(&mallory.id);
        self.keys.insert("stray".to_owned(), stray);
    }

    /// What went before: the state that nobody else may change.
    fn tell_the_story(&mut self) {
        for name in ["alice", "bob", "carol"] {
            self.node.create(name);
        }
        let (alice, bob) = (self.node.actor("alice"), self.node.actor("bob"));
        for name in ["mallory", "trent", "rotated", "gone", "blocked", "eve", "ban"] {
            let mut content =
                self.actor(name).content("Create", self.actor(name).note_object(name), json!({}));
            content.insert("to".to_owned(), json!([alice, PUBLIC]));
            let hello = if name == "rotated" {
                let (id, key) = &self.keys["rotated-new"];
                content.insert("seq".to_owned(), 20.into());
                self.actor(name).sealed_by(content, id, key)
            } else {
                self.actor(name).sealed(content)
            };
            let answer =
                self.actor(name).deliver(&self.node, "/actors/alice/inbox", &hello, Sign::Bare);
            answer.expect(202, name);
            self.value(&format!("{name}_create"), hello["id"].as_str().expect("an id"));
            self.value(&format!("{name}_note"), hello["object"]["id"].as_str().expect("an id"));
        }
        // First contact is recorded even where no key that counts is found.
        for (name, sign) in [("weak", Sign::Rsa), ("twisted", Sign::Rsa)] {
            let foreign = self.actor(name);
            let plain = foreign.plain("Create", foreign.note_object(name), &[&alice]);
            let refused = foreign.deliver(&self.node, "/actors/alice/inbox", &plain, sign);
            refused.refused(401, "unknown-key", name);
        }
        let gone = self.actor("gone").activity("Delete", json!(self.actor("gone").id), &[&alice]);
        self.actor("gone")
            .deliver(&self.node, "/actors/alice/inbox", &gone, Sign::Bare)
            .expect(202, "gone");

        let note = self.node.note("alice", "mine");
        self.value("alice_note", note.object());
        self.value("alice_create", note.id.clone());
        let secret = self.node.publish(
            "alice",
            &json!({
                "type": "Create",
                "to": [self.values["trent"]],
                "object": { "type": "Note", "content": "for trent only" },
            }),
        );
        self.value("secret_create", secret.id.clone());
        let kept = self.node.as_actor("alice").get(&secret.id).expect(200, "alice reads it").text();
        self.value("secret", kept);
        let own = self.node.client().get(&note.id).expect(200, "a public Note").text();
        self.value("alice_create_document", own);

        let follow = self
            .node
            .publish("alice", &json!({ "type": "Follow", "object": self.values["trent"] }));
        self.value("alice_follow", follow.id);
        let follow = self
            .node
            .publish("bob", &json!({ "type": "Follow", "object": self.values["mallory"] }));
        self.value("bob_follow", follow.id.clone());
        let accept = self.actor("mallory").activity("Accept", json!(follow.id), &[&bob]);
        self.actor("mallory")
            .deliver(&self.node, "/actors/bob/inbox", &accept, Sign::Bare)
            .expect(202, "Accept");
        self.node.lists("bob", "following", &self.values["mallory"].clone());

        for (name, kind, object) in [
            ("trent_follow", "Follow", alice.clone()),
            ("trent_like", "Like", note.object().to_owned()),
            ("trent_announce", "Announce", note.object().to_owned()),
        ] {
            let said = self.actor("trent").activity(kind, json!(object), &[&alice, PUBLIC]);
            self.actor("trent")
                .deliver(&self.node, "/actors/alice/inbox", &said, Sign::Bare)
                .expect(202, name);
            self.value(name, said["id"].as_str().expect("an id"));
        }
        self.node.lists("alice", "followers", &self.values["trent"].clone());
        self.node.publish("alice", &json!({ "type": "Block", "object": self.values["blocked"] }));
        self.node.publish("instance", &json!({ "type": "Block", "object": self.values["banned"] }));
        self.node
            .publish("carol", &json!({ "type": "Delete", "object": self.node.actor("carol") }));
        // Answers and first deliveries of the story must be over before anything is compared.
        self.peers[0].receives_where("the Accept for trent", |post| post.body["type"] == "Accept");
        self.node.settled_head();
    }

    /// What is so for everyone and may not be changed by a stranger.
    pub fn facts(&self, head: u64) -> BTreeMap<String, Value> {
        let mut facts = BTreeMap::new();
        for name in ["key-history", "peer-actors"] {
            self.node.projection(name, &format!("?limit=1&min_seq={head}"));
        }
        let listing = self.node.admin().get("/admin/projections").expect(200, "digests").json();
        for item in listing["items"].as_array().expect("items") {
            let name = item["projection"]["name"].as_str().expect("a name");
            if ["key-history", "peer-actors"].contains(&name) {
                let digest = item["digest"].get("digest").unwrap_or(&item["digest"]);
                facts.insert(name.to_owned(), digest.clone());
            }
        }
        // Edges, answers and counts of these actors; what a stranger says of itself is its own.
        let theirs: Vec<_> = ["alice", "bob", "trent"].map(|name| json!(self.values[name])).into();
        let mut edges =
            self.node.projection("follower-graph", &format!("?limit=1000&min_seq={head}"));
        edges.retain(|edge| theirs.contains(&edge["key"][1]));
        facts.insert("follower-graph".to_owned(), json!(edges));
        let about = encoded(&self.values["alice_note"]);
        for name in ["announces", "endorsements"] {
            let rows = self.node.projection(name, &format!("?key={about}&min_seq={head}"));
            facts.insert(name.to_owned(), json!(rows));
        }
        for name in ["alice_note", "trent_note", "mallory_note", "eve_note"] {
            let key = encoded(&self.values[name]);
            facts.insert(
                name.to_owned(),
                json!(self.node.projection("objects", &format!("?key={key}&min_seq={head}"))),
            );
        }
        for name in ["alice", "bob", "trent", "mallory", "rotated", "eve"] {
            let key = encoded(&self.values[name]);
            let mut rows =
                self.node.projection("actor-state", &format!("?key={key}&min_seq={head}"));
            for row in &mut rows {
                // How much somebody said is not what somebody is.
                row["value"].as_object_mut().expect("members").remove("counts");
            }
            facts.insert(name.to_owned(), json!(rows));
        }
        let registry =
            self.node.projection("define-registry", &format!("?limit=500&min_seq={head}"));
        let in_force: Vec<_> =
            registry.into_iter().filter(|row| row["value"]["status"] != "offered").collect();
        facts.insert("definitions".to_owned(), json!(in_force));
        for name in ["alice", "bob"] {
            facts.insert(format!("outbox of {name}"), json!(self.node.total(name, "outbox")));
        }
        facts
    }

    /// Sends a case; gives the last answer.
    pub fn send(&mut self, case: &Case) -> Answer {
        self.value("now", now());
        self.value("unique", format!("{:032x}", unique()));
        let body = if case.again { self.last.clone() } else { self.body(case) };
        let http = case.http.clone().unwrap_or_else(|| usual(case));
        let by = self.actor(&case.by);
        let (own_id, own) = match http.scheme {
            Scheme::Rfc9421 if http.key.is_none() => {
                (by.key_id.clone(), SigningKey::Usual(&by.key))
            }
            _ => (by.rsa_id.clone(), SigningKey::Usual(rsa())),
        };
        let (key_id, key) = match http.key.as_deref() {
            None => (own_id, own),
            Some("small") => (by.rsa_id.clone(), SigningKey::Small(&self.small)),
            Some("rsa") => (by.rsa_id.clone(), SigningKey::Usual(rsa())),
            Some(name) => {
                let (id, key) = self.key(name);
                (id, SigningKey::Usual(key))
            }
        };
        let key_id = http.key_id.as_ref().map_or(key_id, |id| fill(id, &self.values));
        let path = fill(&case.inbox, &self.values);
        let request =
            ToSign { base: &self.node.base, path: &path, body: &body, key_id: &key_id, key: &key };
        let mut headers = signing::headers(&http, &request);
        headers.insert("content-type", case.content_type.parse().expect("a header value"));
        let mut answer = None;
        for _ in 0..case.times {
            let list: Vec<_> = headers
                .iter()
                .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
                .collect();
            answer = Some(if body.len() > 64 * 1024 {
                self.node.client().post_large(&path, &list, &body)
            } else {
                self.node.client().send("POST", &path, &list, Some(body.clone()))
            });
        }
        self.last = body;
        answer.expect("it is sent at least once")
    }

    fn key(&self, name: &str) -> (String, &SecretKey) {
        match self.keys.get(name) {
            Some((id, key)) => (id.clone(), key),
            None => (self.actor(name).key_id.clone(), &self.actor(name).key),
        }
    }

    fn body(&self, case: &Case) -> Vec<u8> {
        if let Some(digits) = &case.hex {
            let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
            return pairs.map(|pair| u8::from_str_radix(pair, 16).expect("digits")).collect();
        }
        if let Some(raw) = &case.raw {
            return fill(raw, &self.values).into_bytes();
        }
        let by = self.actor(&case.by);
        let mut content = match case.form {
            Form::Sealed => by.content("Create", by.note_object(&case.case), json!({})),
            Form::Plain => {
                let plain = by.plain("Create", by.note_object(&case.case), &[]);
                plain.as_object().expect("members").clone()
            }
        };
        content.insert("to".to_owned(), json!([self.values["alice"]]));
        for (name, member) in &case.activity {
            if member.is_null() {
                content.remove(name);
            } else {
                content.insert(name.clone(), fill_all(member, &self.values));
            }
        }
        let mut document = match case.form {
            Form::Plain => Value::Object(content),
            Form::Sealed => self.sealed(case, by, content),
        };
        if let Some(changes) = &case.after {
            merge(&mut document, &fill_all(changes, &self.values));
        }
        document.to_string().into_bytes()
    }

    fn sealed(&self, case: &Case, by: &Foreign, content: Map<String, Value>) -> Value {
        let Proof { key, method, none } = case.proof.clone().unwrap_or_default();
        let (id, key) = match key {
            Some(name) => self.key(&name),
            None => (by.key_id.clone(), &by.key),
        };
        let id = method.map_or(id, |method| fill(&method, &self.values));
        let mut sealed = by.sealed_by(content, &id, key);
        if none {
            sealed.as_object_mut().expect("members").remove("proof");
        }
        sealed
    }

    /// Stops the instance and gives its data.
    pub fn into_data(self) -> TempDir {
        self.node.into_data()
    }
}

/// The signature of a case that asks for none in particular.
fn usual(case: &Case) -> Http {
    let scheme = match case.form {
        Form::Plain => Scheme::Cavage,
        Form::Sealed => Scheme::None,
    };
    serde_json::from_value(json!({
        "scheme": if scheme == Scheme::None { "none" } else { "cavage" },
    }))
    .expect("a signature")
}
