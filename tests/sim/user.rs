//! People: each acts for one actor, over HTTP, and repeats what got no answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fedsx_kernel::Cid;
use fedsx_kernel::log::{Record, Stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::{sleep, timeout};

use super::dice::Dice;
use super::node::{SimNode, secret};
use super::world::{Published, World};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// One request of somebody at the same place as the instance; an error where there is no answer.
pub async fn request(
    world: &World,
    node: &SimNode,
    method: &str,
    path: &str,
    name: &str,
    once: Option<&str>,
    body: Option<&Value>,
) -> Result<(u16, Value), String> {
    let door = world.net.door(node.index).ok_or("the instance is down")?;
    let (mut ours, theirs) = duplex(1024 * 1024);
    let address = SocketAddr::from(([10, 9, 0, 1], 50_000));
    door.listener.send((Box::new(theirs), address)).map_err(|_| "the instance is down")?;
    let body = body.map(Value::to_string).unwrap_or_default();
    let once = once.map(|key| format!("Idempotency-Key: {key}\r\n")).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAccept: */*\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\n{once}Content-Length: {}\r\n\r\n",
        super::net::host(node.index),
        secret(name),
        body.len(),
    );
    let exchange = async {
        ours.write_all(head.as_bytes()).await?;
        ours.write_all(body.as_bytes()).await?;
        let mut answer = Vec::new();
        ours.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let mut life = door.life.clone();
    let answer = tokio::select! {
        biased;
        _ = life.wait_for(|alive| !*alive) => return Err("the power failed".to_owned()),
        answer = timeout(PATIENCE, exchange) => answer,
    };
    let answer = answer.map_err(|_| "no answer in time")?.map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").ok_or("half an answer")?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or("no status")?;
    Ok((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// Somebody who acts for an actor.
pub struct User {
    world: Arc<World>,
    node: Arc<SimNode>,
    name: String,
    dice: Dice,
    requests: u32,
    notes: Vec<Note>,
    follows: Vec<String>,
    blocks: Vec<(String, String)>,
    endorsed: Vec<String>,
    decided: Vec<Cid>,
    approves: bool,
}

struct Note {
    object: String,
    audience: Value,
}

impl User {
    pub fn new(world: Arc<World>, node: Arc<SimNode>, name: &str) -> Self {
        let dice = Dice::new(world.seed, &format!("user {name}"));
        Self {
            approves: dice.chance(25),
            world,
            node,
            name: name.to_owned(),
            dice,
            requests: 0,
            notes: Vec::new(),
            follows: Vec::new(),
            blocks: Vec::new(),
            endorsed: Vec::new(),
            decided: Vec::new(),
        }
    }

    /// Lives through `acts` acts, with `pause` seconds between them at most.
    pub async fn act(mut self, acts: u64, pause: u64) {
        let create = json!({
            "type": "Create",
            "object": {
                "type": "Person", "name": self.name,
                "manuallyApprovesFollowers": self.approves,
            },
        });
        self.publish(&create).await;
        sleep(self.dice.seconds(0, 5)).await;
        // A beginning: without followers, little is delivered.
        for _ in 0..2 {
            self.follow().await;
        }
        for _ in 0..acts {
            sleep(self.dice.millis(0, pause * 1000)).await;
            if self.approves {
                self.decide().await;
            }
            match self.dice.below(100) {
                0..30 => self.note().await,
                30..42 => self.update().await,
                42..48 => self.delete().await,
                48..62 => self.follow().await,
                62..68 => self.unfollow().await,
                68..76 => self.endorse().await,
                76..80 => self.take_back().await,
                80..85 => self.announce().await,
                85..89 => self.profile().await,
                89..93 => self.rotate().await,
                93..96 => self.reject().await,
                96..98 => self.block().await,
                _ => self.unblock().await,
            }
        }
        if self.approves {
            self.decide().await;
        }
    }

    /// Publishes, again and again until there is an answer; the same key makes it once.
    async fn publish(&mut self, body: &Value) -> Option<Value> {
        self.requests += 1;
        let key = format!("{}-{}", self.name, self.requests);
        loop {
            let answer = request(
                &self.world,
                &self.node,
                "POST",
                "/activity",
                &self.name,
                Some(&key),
                Some(body),
            );
            let answer = answer.await;
            let kind = body["type"].as_str().unwrap_or_default();
            match answer {
                Ok((200 | 201, answer)) => {
                    let published = Published {
                        node: self.node.index,
                        cid: answer["cid"].as_str().unwrap().parse().unwrap(),
                    };
                    let line = format!("{} publishes {kind} {}", self.name, published.cid);
                    self.world.trace.note(&line);
                    self.world.published.lock().unwrap().push(published);
                    return Some(answer);
                }
                Ok((status @ 400..500, answer)) if !matches!(status, 408 | 429) => {
                    let problem = answer["type"].as_str().unwrap_or_default().to_owned();
                    let line = format!("{} may not {kind}: {status} {problem}", self.name);
                    self.world.trace.note(&line);
                    let expected = ["actor-exists", "unknown-reference", "not-authorised"];
                    if !expected.iter().any(|slug| problem.ends_with(slug)) {
                        self.world.violation(format!("{line} {answer} for {body}"));
                    }
                    return None;
                }
                Ok((status, answer)) => {
                    self.world
                        .trace
                        .note(&format!("{} gets {status} {}", self.name, answer["type"]));
                }
                Err(_) => {}
            }
            sleep(self.dice.millis(500, 3000)).await;
        }
    }

    fn somebody(&self) -> String {
        loop {
            let (node, name) = self.dice.pick(&self.world.cast).unwrap();
            if *name != self.name {
                return self.world.nodes[*node].actor(name);
            }
        }
    }

    fn audience(&self) -> Value {
        let public = "https://www.w3.org/ns/activitystreams#Public";
        match self.dice.below(6) {
            0 | 1 => json!({ "to": [public], "cc": ["Followers"] }),
            2 => json!({ "to": [public, self.somebody()] }),
            3 => json!({ "to": ["Followers"] }),
            4 => json!({ "to": [self.somebody(), self.somebody()], "cc": [self.somebody()] }),
            _ => json!({ "to": [self.somebody()], "bto": [self.somebody()], "bcc": ["Followers"] }),
        }
    }

    async fn note(&mut self) {
        let audience = self.audience();
        let text = format!("{} says {}", self.name, self.requests);
        let mut create = audience.clone();
        create["type"] = "Create".into();
        create["object"] = json!({ "type": "Note", "content": text });
        if let Some(answer) = self.publish(&create).await {
            let object = answer["object"].as_str().unwrap().to_owned();
            self.notes.push(Note { object, audience });
        }
    }

    async fn update(&mut self) {
        let Some(note) = self.dice.pick(&self.notes) else { return };
        let mut update = note.audience.clone();
        update["type"] = "Update".into();
        let text = format!("{} corrects {}", self.name, self.requests);
        update["object"] = json!({ "id": note.object, "type": "Note", "content": text });
        self.publish(&update).await;
    }

    async fn delete(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        let note = self.notes.swap_remove(self.dice.below(self.notes.len()));
        let mut delete = note.audience;
        delete["type"] = "Delete".into();
        delete["object"] = note.object.into();
        self.publish(&delete).await;
    }

    async fn follow(&mut self) {
        let other = self.somebody();
        if self.blocks.iter().any(|(blocked, _)| *blocked == other) {
            return;
        }
        let mut follow = json!({ "type": "Follow", "object": other });
        if self.dice.chance(20) {
            follow["backfill"] = json!({ "mode": "last-N", "limit": self.dice.between(1, 8) });
        }
        if let Some(answer) = self.publish(&follow).await {
            self.follows.push(answer["id"].as_str().unwrap().to_owned());
        }
    }

    async fn unfollow(&mut self) {
        if self.follows.is_empty() {
            return;
        }
        let follow = self.follows.swap_remove(self.dice.below(self.follows.len()));
        self.publish(&json!({ "type": "Undo", "object": follow })).await;
    }

    async fn endorse(&mut self) {
        let Some(record) = self.received("Create") else { return };
        let cid = record.activity.cid().to_string();
        let endorse = json!({ "type": "Endorse", "object": cid, "kind": "like" });
        if let Some(answer) = self.publish(&endorse).await {
            self.endorsed.push(answer["id"].as_str().unwrap().to_owned());
        }
    }

    async fn take_back(&mut self) {
        if self.endorsed.is_empty() {
            return;
        }
        let endorse = self.endorsed.swap_remove(self.dice.below(self.endorsed.len()));
        self.publish(&json!({ "type": "Undo", "object": endorse })).await;
    }

    async fn announce(&mut self) {
        let Some(record) = self.received("Create") else { return };
        let cid = record.activity.cid().to_string();
        self.publish(&json!({ "type": "Announce", "object": cid })).await;
    }

    async fn profile(&mut self) {
        let name = format!("{} {}", self.name, self.requests);
        let object = self.node.actor(&self.name);
        self.publish(&json!({ "type": "Update", "object": object, "patch": { "name": name } }))
            .await;
    }

    async fn rotate(&mut self) {
        let object = self.node.actor(&self.name);
        let patch = json!({ "add_publicKey": { "generate": true }, "supersede": {} });
        self.publish(&json!({ "type": "Update", "object": object, "patch": patch })).await;
    }

    async fn block(&mut self) {
        let other = self.somebody();
        if let Some(answer) = self.publish(&json!({ "type": "Block", "object": other })).await {
            self.blocks.push((other, answer["id"].as_str().unwrap().to_owned()));
        }
    }

    async fn unblock(&mut self) {
        if self.blocks.is_empty() {
            return;
        }
        let (_, block) = self.blocks.swap_remove(self.dice.below(self.blocks.len()));
        self.publish(&json!({ "type": "Undo", "object": block })).await;
    }

    /// Answers Follows that wait.
    async fn decide(&mut self) {
        for record in self.inbox("Follow") {
            let cid = *record.activity.cid();
            if self.decided.contains(&cid) || self.dice.chance(30) {
                continue;
            }
            self.decided.push(cid);
            let verdict = if self.dice.chance(80) { "Accept" } else { "Reject" };
            self.publish(&json!({ "type": verdict, "object": record.activity.id() })).await;
        }
    }

    /// Thinks better of a follower.
    async fn reject(&mut self) {
        let follows = self.inbox("Follow");
        let Some(record) = self.dice.pick(&follows) else { return };
        self.publish(&json!({ "type": "Reject", "object": record.activity.id() })).await;
    }

    fn received(&self, kind: &str) -> Option<Record> {
        let inbox = self.inbox(kind);
        self.dice.pick(&inbox).cloned()
    }

    fn inbox(&self, kind: &str) -> Vec<Record> {
        let Some(handles) = self.node.handles() else { return Vec::new() };
        let stream = Stream::Inbox(self.name.parse().unwrap());
        let mut records = handles.kernel.log().stream(&stream, 0, usize::MAX).unwrap_or_default();
        records.retain(|record| record.activity.kind() == kind && !record.entry.meta.backfilled);
        records
    }
}
