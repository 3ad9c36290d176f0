//! Actors: those of this server, and those of others that were fetched.

use activitypub_federation::config::Data;
use activitypub_federation::fetch::object_id::ObjectId;
use activitypub_federation::http_signatures::generate_actor_keypair;
use activitypub_federation::kinds::actor::PersonType;
use activitypub_federation::protocol::public_key::PublicKey;
use activitypub_federation::protocol::verification::verify_domains_match;
use activitypub_federation::traits::{Actor, Object};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::{Error, Server};

#[derive(Clone, Debug)]
pub struct User {
    pub id: Url,
    pub name: String,
    pub inbox: Url,
    pub shared_inbox: Option<Url>,
    pub public_key: String,
    /// Of this server's users only.
    pub private_key: Option<String>,
}

/// The actor document that Lemmy's types demand.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    #[serde(rename = "type")]
    kind: PersonType,
    id: ObjectId<User>,
    preferred_username: String,
    inbox: Url,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoints: Option<Endpoints>,
    public_key: PublicKey,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Endpoints {
    shared_inbox: Url,
}

impl User {
    pub fn local(base: &str, name: &str) -> Result<Self, Error> {
        let keys = generate_actor_keypair()?;
        let url = |path: &str| Url::parse(&format!("{base}/{path}"));
        Ok(Self {
            id: url(&format!("users/{name}"))?,
            name: name.to_owned(),
            inbox: url(&format!("users/{name}/inbox"))?,
            shared_inbox: Some(url("inbox")?),
            public_key: keys.public_key,
            private_key: Some(keys.private_key),
        })
    }
}

#[async_trait::async_trait]
impl Object for User {
    type DataType = Server;
    type Kind = Person;
    type Error = Error;

    fn id(&self) -> &Url {
        &self.id
    }

    async fn read_from_id(id: Url, data: &Data<Server>) -> Result<Option<Self>, Error> {
        Ok(data.lock().users.get(&id).cloned())
    }

    async fn into_json(self, _data: &Data<Server>) -> Result<Person, Error> {
        Ok(Person {
            kind: PersonType::Person,
            public_key: self.public_key(),
            preferred_username: self.name,
            inbox: self.inbox,
            endpoints: self.shared_inbox.map(|shared_inbox| Endpoints { shared_inbox }),
            id: self.id.into(),
        })
    }

    async fn verify(person: &Person, expected: &Url, _data: &Data<Server>) -> Result<(), Error> {
        Ok(verify_domains_match(person.id.inner(), expected)?)
    }

    async fn from_json(person: Person, data: &Data<Server>) -> Result<Self, Error> {
        let user = Self {
            id: person.id.into_inner(),
            name: person.preferred_username,
            inbox: person.inbox,
            shared_inbox: person.endpoints.map(|endpoints| endpoints.shared_inbox),
            public_key: person.public_key.public_key_pem,
            private_key: None,
        };
        data.lock().users.insert(user.id.clone(), user.clone());
        Ok(user)
    }
}

impl Actor for User {
    fn public_key_pem(&self) -> &str {
        &self.public_key
    }

    fn private_key_pem(&self) -> Option<String> {
        self.private_key.clone()
    }

    fn inbox(&self) -> Url {
        self.inbox.clone()
    }

    fn shared_inbox(&self) -> Option<Url> {
        self.shared_inbox.clone()
    }
}
