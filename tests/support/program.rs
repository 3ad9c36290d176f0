//! A server of other authors that runs as a program of its own: it verifies and writes down what it
//! gets, and does what the test tells it over a second port.
//!
//! Such a program prints `{"base": ..., "control": ...}` as its first line, ends with its standard
//! input, and takes at least `GET /received`, `GET /requests` and `POST /send`.

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use super::client::Client;
use super::poll::{PATIENCE, eventually};

/// A running program; ended when it is dropped.
pub struct Program {
    child: Child,
    /// Where its actors live.
    pub base: String,
    control: Client,
    made: Cell<u32>,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    pub fn start(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("its output"));
        output.read_line(&mut line).expect("a line");
        let at: Value = serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"));
        let text = |name: &str| at[name].as_str().expect("an address").to_owned();
        let (base, control) = (text("base"), Client::new(&text("control")));
        Self { child, base, control, made: Cell::new(0) }
    }

    pub fn actor(&self, name: &str) -> String {
        format!("{}/users/{name}", self.base)
    }

    /// A number that was not used before.
    pub fn number(&self) -> u32 {
        self.made.replace(self.made.get() + 1)
    }

    /// Has it do something; gives its answer.
    #[track_caller]
    pub fn tell(&self, command: &str, body: &Value) -> Value {
        let headers = [("content-type", "application/json")];
        let answer = self.control.post_with(command, body, &headers);
        answer.expect(200, &format!("{command} {body}")).json()
    }

    /// A list that it keeps.
    #[track_caller]
    pub fn list(&self, of: &str) -> Vec<Value> {
        let all = self.control.get(of).expect(200, of).json();
        all.as_array().expect("a list").clone()
    }

    /// An activity of an actor there, with an id that was not used before.
    pub fn activity(&self, name: &str, kind: &str, object: &Value, to: &[&str]) -> Value {
        let mut activity = json!({
            "@context": "https://www.w3.org/ns/activitystreams",
            "type": kind,
            "id": format!("{}/activities/{}", self.base, self.number()),
            "actor": self.actor(name),
            "object": object,
        });
        if !to.is_empty() {
            activity["to"] = json!(to);
        }
        activity
    }

    /// A Note of an actor there, with further members.
    pub fn note(&self, name: &str, more: &Value) -> Value {
        let number = self.number();
        let mut note = json!({
            "type": "Note",
            "id": format!("{}/notes/{number}", self.base),
            "attributedTo": self.actor(name),
            "content": format!("<p>note {number}</p>"),
            "published": "2026-11-01T10:00:00Z",
            "to": [super::PUBLIC],
        });
        for (name, value) in more.as_object().expect("members") {
            note[name] = value.clone();
        }
        note
    }

    /// Has it sign and send an activity; gives the activity's id.
    #[track_caller]
    pub fn send(&self, name: &str, to: &[&str], shared: bool, activity: &Value) -> String {
        let command = json!({ "as": name, "to": to, "shared": shared, "activity": activity });
        assert_eq!(self.tell("/send", &command)["sent"], true, "{activity}");
        activity["id"].as_str().expect("an id").to_owned()
    }

    /// What it has verified and taken under an id, in order.
    pub fn taken(&self, id: &str) -> Vec<Value> {
        self.list("/received").into_iter().filter(|one| one["id"] == id).collect()
    }

    /// Waits until it has verified and taken an activity; gives what it wrote down.
    #[track_caller]
    pub fn receives(&self, id: &str) -> Value {
        eventually(PATIENCE, &format!("{id} at {}", self.base), || {
            self.taken(id).into_iter().next()
        })
    }
}
