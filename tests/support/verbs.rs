//! What tests do with a node: create actors, publish, read collections and projections.

use fedsx_kernel::Activity;
use fedsx_kernel::keys::{Key, PublicKey};
use fedsx_kernel::proof::Suites;
use serde_json::{Value, json};

use super::node::Node;
use super::poll::{PATIENCE, eventually};

/// What a publish answered.
#[derive(Clone, Debug)]
pub struct Published {
    pub id: String,
    pub cid: String,
    pub seq: u64,
    pub global_seq: u64,
    pub object: Option<String>,
}

impl Published {
    #[track_caller]
    pub fn of(answer: &Value) -> Self {
        let text = |name: &str| {
            let value = answer[name].as_str();
            value.unwrap_or_else(|| panic!("{name} in {answer}")).to_owned()
        };
        let number =
            |name: &str| answer[name].as_u64().unwrap_or_else(|| panic!("{name} in {answer}"));
        Self {
            id: text("id"),
            cid: text("cid"),
            seq: number("seq"),
            global_seq: number("global_seq"),
            object: answer["object"].as_str().map(str::to_owned),
        }
    }

    /// The id of the object that was made.
    #[track_caller]
    pub fn object(&self) -> &str {
        self.object.as_deref().unwrap_or_else(|| panic!("no object id in {self:?}"))
    }
}

/// `Create` with a Note.
pub fn note(content: &str) -> Value {
    json!({ "type": "Create", "object": { "type": "Note", "content": content } })
}

impl Node {
    /// Creates a Person by its first activity.
    #[track_caller]
    pub fn create(&self, name: &str) -> Published {
        self.publish(
            name,
            &json!({ "type": "Create", "object": { "type": "Person", "name": name } }),
        )
    }

    /// Publishes as an actor; the request must be taken.
    #[track_caller]
    pub fn publish(&self, name: &str, request: &Value) -> Published {
        let answer = self.as_actor(name).post("/activity", request);
        assert_eq!(answer.status, 201, "{name} publishes {request}: {}", answer.text());
        Published::of(&answer.json())
    }

    /// Publishes a Note to the usual audience.
    #[track_caller]
    pub fn note(&self, name: &str, content: &str) -> Published {
        self.publish(name, &note(content))
    }

    /// The outbox of an actor from its beginning, at most 100, as a stranger sees it.
    #[track_caller]
    pub fn outbox(&self, name: &str) -> Vec<Value> {
        items(&self.client().get(&format!("/actors/{name}/outbox?since=&limit=100")).json())
    }

    /// The inbox of an actor, newest first, at most 100.
    #[track_caller]
    pub fn inbox(&self, name: &str) -> Vec<Value> {
        let path = format!("/actors/{name}/inbox?page=true&limit=100");
        let answer = self.as_actor(name).get(&path);
        items(&answer.expect(200, "the inbox by its own token").json())
    }

    /// The ids in a collection such as `followers`, read by the actor itself.
    #[track_caller]
    pub fn listed(&self, name: &str, collection: &str) -> Vec<String> {
        let path = format!("/actors/{name}/{collection}?page=true");
        ids(&self.as_actor(name).get(&path).expect(200, collection).json()["orderedItems"])
    }

    /// The ids whose answer to a Follow is outstanding.
    #[track_caller]
    pub fn pending(&self, name: &str) -> Vec<String> {
        let path = format!("/actors/{name}/following?page=true");
        ids(&self.as_actor(name).get(&path).expect(200, "following").json()["pending"])
    }

    /// `totalItems` of a collection, read by the actor itself.
    #[track_caller]
    pub fn total(&self, name: &str, collection: &str) -> u64 {
        let answer = self.as_actor(name).get(&format!("/actors/{name}/{collection}"));
        let collection = answer.expect(200, collection).json();
        collection["totalItems"].as_u64().unwrap_or_else(|| panic!("totalItems in {collection}"))
    }

    /// Items of a projection; `query` starts with `?`, or is empty.
    #[track_caller]
    pub fn projection(&self, name: &str, query: &str) -> Vec<Value> {
        let answer = self.admin().get(&format!("/projections/{name}{query}")).expect(200, name);
        let page = answer.json();
        page["items"].as_array().unwrap_or_else(|| panic!("items in {page}")).clone()
    }

    /// The end of the log.
    #[track_caller]
    pub fn head(&self) -> u64 {
        let listing = self.client().get("/projections").expect(200, "the projections").json();
        let all = listing["projections"].as_array();
        let all = all.unwrap_or_else(|| panic!("projections in {listing}"));
        let heads = all.iter().flat_map(|one| [one["head"].as_u64(), one["global_seq"].as_u64()]);
        heads.flatten().max().unwrap_or_else(|| panic!("a position in {listing}"))
    }

    /// The end of the log once nothing moves it any more.
    pub fn settled_head(&self) -> u64 {
        let mut last = self.head();
        let mut calm = 0;
        eventually(PATIENCE, "the log comes to rest", || {
            let now = self.head();
            calm = if now == last { calm + 1 } else { 0 };
            last = now;
            (calm >= 5).then_some(now)
        })
    }

    /// Waits until an activity is in an inbox.
    #[track_caller]
    pub fn receives(&self, name: &str, id: &str) -> Value {
        eventually(PATIENCE, &format!("{id} in the inbox of {name}"), || {
            self.inbox(name).into_iter().find(|activity| activity["id"] == id)
        })
    }

    /// Waits until a collection lists an id.
    #[track_caller]
    pub fn lists(&self, name: &str, collection: &str, id: &str) {
        eventually(PATIENCE, &format!("{id} in the {collection} of {name}"), || {
            self.listed(name, collection).iter().any(|listed| listed == id).then_some(())
        });
    }

    /// Follows an actor and waits for the Accept.
    #[track_caller]
    pub fn follow(&self, name: &str, target: &str) -> Published {
        let follow = self.publish(name, &json!({ "type": "Follow", "object": target }));
        self.lists(name, "following", target);
        follow
    }

    /// The key history of an actor.
    #[track_caller]
    pub fn keys(&self, name: &str) -> Vec<Value> {
        let answer = self.client().get(&format!("/actors/{name}/keys")).expect(200, "the keys");
        answer.json()["orderedItems"].as_array().expect("keys").clone()
    }
}

#[track_caller]
pub fn items(page: &Value) -> Vec<Value> {
    page["orderedItems"].as_array().unwrap_or_else(|| panic!("orderedItems in {page}")).clone()
}

/// The ids in an array of ids or objects with ids; none where it is absent.
pub fn ids(value: &Value) -> Vec<String> {
    let id = |item: &Value| item.as_str().or_else(|| item["id"].as_str()).map(str::to_owned);
    value.as_array().into_iter().flatten().filter_map(id).collect()
}

/// The verbs of activities, in order.
pub fn kinds(activities: &[Value]) -> Vec<&str> {
    activities.iter().map(|activity| activity["type"].as_str().unwrap_or_default()).collect()
}

/// Reads an activity as every receiver does.
#[track_caller]
pub fn sealed(activity: &Value) -> Activity {
    let bytes = activity.to_string().into_bytes();
    let document = fedsx_kernel::json::parse(&bytes).expect("the JSON that is accepted");
    Activity::from_document(document).unwrap_or_else(|e| panic!("{e}: {activity}"))
}

/// The key that a proof names, from a key history.
#[track_caller]
pub fn signer<'k>(activity: &Value, keys: &'k [Value]) -> &'k Value {
    let method = &activity["proof"]["verificationMethod"];
    let found = keys.iter().find(|key| key["id"] == *method);
    found.unwrap_or_else(|| panic!("{method} among {keys:?}"))
}

/// Whether the activity's proof was made with this key.
pub fn proven(activity: &Value, key: &Value) -> bool {
    let key: Key = serde_json::from_value(key.clone()).expect("a key");
    let public: PublicKey = key.public().expect("key material");
    Suites::standard().verify(sealed(activity).document(), &public).is_ok()
}
