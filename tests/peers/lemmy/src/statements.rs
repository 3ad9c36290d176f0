//! Activities and objects, as strictly typed as Lemmy has them. What fits none of the types is
//! written down as such.

use std::fmt::Debug;

use activitypub_federation::activity_sending::SendActivityTask;
use activitypub_federation::config::Data;
use activitypub_federation::fetch::object_id::ObjectId;
use activitypub_federation::kinds::activity::{
    AcceptType, AnnounceType, CreateType, DeleteType, FollowType, LikeType, RejectType, UndoType,
    UpdateType,
};
use activitypub_federation::kinds::object::NoteType;
use activitypub_federation::protocol::context::WithContext;
use activitypub_federation::protocol::helpers::deserialize_one_or_many;
use activitypub_federation::protocol::tombstone::Tombstone;
use activitypub_federation::protocol::verification::verify_domains_match;
use activitypub_federation::traits::{Activity, Actor, Object};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use url::Url;

use crate::user::User;
use crate::{Error, Server};

type By = ObjectId<User>;

/// A statement with a verb `K` about an object `O`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Said<K, O> {
    pub id: Url,
    pub actor: By,
    #[serde(rename = "type")]
    pub kind: K,
    pub object: O,
}

/// The same, with an audience.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Told<K, O> {
    #[serde(flatten)]
    pub said: Said<K, O>,
    #[serde(deserialize_with = "deserialize_one_or_many")]
    pub to: Vec<Url>,
}

pub type Follow = Said<FollowType, By>;

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Note {
    #[serde(rename = "type")]
    kind: NoteType,
    pub id: ObjectId<Note>,
    pub attributed_to: By,
    #[serde(deserialize_with = "deserialize_one_or_many")]
    to: Vec<Url>,
    pub content: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    in_reply_to: Option<Url>,
}

#[async_trait::async_trait]
impl Object for Note {
    type DataType = Server;
    type Kind = Note;
    type Error = Error;

    fn id(&self) -> &Url {
        self.id.inner()
    }

    async fn read_from_id(id: Url, data: &Data<Server>) -> Result<Option<Self>, Error> {
        Ok(data.lock().notes.get(&id).cloned())
    }

    async fn into_json(self, _data: &Data<Server>) -> Result<Note, Error> {
        Ok(self)
    }

    async fn verify(note: &Note, expected: &Url, _data: &Data<Server>) -> Result<(), Error> {
        verify_domains_match(note.id.inner(), expected)?;
        Ok(verify_domains_match(note.attributed_to.inner(), expected)?)
    }

    async fn from_json(note: Note, data: &Data<Server>) -> Result<Self, Error> {
        data.lock().notes.insert(note.id.inner().clone(), note.clone());
        Ok(note)
    }
}

/// What may come, most telling first.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Typed {
    Follow(Follow),
    Accept(Said<AcceptType, Follow>),
    Reject(Said<RejectType, Follow>),
    UndoFollow(Said<UndoType, Follow>),
    UndoLike(Said<UndoType, Said<LikeType, Url>>),
    UndoAnnounce(Said<UndoType, Told<AnnounceType, Url>>),
    Create(Told<CreateType, Note>),
    Update(Told<UpdateType, Note>),
    Delete(Said<DeleteType, Tombstone>),
    DeleteById(Said<DeleteType, Url>),
    Announce(Told<AnnounceType, Url>),
    Like(Said<LikeType, Url>),
    Other(Other),
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Other {
    id: Url,
    actor: By,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// An activity that is taken as one of the types, and as it came.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "Value", into = "Value")]
pub struct Statement {
    id: Url,
    actor: By,
    typed: Typed,
    whole: Value,
}

impl TryFrom<Value> for Statement {
    type Error = serde_json::Error;

    fn try_from(mut whole: Value) -> Result<Self, serde_json::Error> {
        if let Some(members) = whole.as_object_mut() {
            // `WithContext` brings it.
            members.remove("@context");
        }
        let Other { id, actor, .. } = serde_json::from_value(whole.clone())?;
        Ok(Self { id, actor, typed: serde_json::from_value(whole.clone())?, whole })
    }
}

impl From<Statement> for Value {
    fn from(statement: Statement) -> Self {
        statement.whole
    }
}

impl Statement {
    /// The name of the type as which it was taken.
    fn taken_as(&self) -> String {
        let name = format!("{:?}", self.typed);
        name.split('(').next().unwrap_or_default().to_owned()
    }
}

#[async_trait::async_trait]
impl Activity for Statement {
    type DataType = Server;
    type Error = Error;

    fn id(&self) -> &Url {
        &self.id
    }

    fn actor(&self) -> &Url {
        self.actor.inner()
    }

    async fn verify(&self, data: &Data<Server>) -> Result<(), Error> {
        match &self.typed {
            Typed::Create(Told { said, .. }) => Note::verify(&said.object, &self.id, data).await,
            Typed::Update(Told { said, .. }) => Note::verify(&said.object, &self.id, data).await,
            _ => Ok(()),
        }
    }

    async fn receive(self, data: &Data<Server>) -> Result<(), Error> {
        let taken_as = self.taken_as();
        data.lock().received.push(json!({
            "id": self.id, "actor": self.actor, "type": taken_as, "activity": self.whole,
        }));
        match self.typed {
            Typed::Follow(follow) => answer(follow, data).await,
            Typed::Create(Told { said, .. }) => Note::from_json(said.object, data).await.map(drop),
            Typed::Update(Told { said, .. }) => Note::from_json(said.object, data).await.map(drop),
            _ => Ok(()),
        }
    }
}

async fn answer(follow: Follow, data: &Data<Server>) -> Result<(), Error> {
    if data.lock().manual {
        return Ok(());
    }
    let follower = follow.actor.dereference(data).await?;
    let followed = follow.object.dereference_local(data).await?;
    let id = {
        let mut inner = data.lock();
        inner.made += 1;
        Url::parse(&format!("{}/accepts/{}", inner.base, inner.made))?
    };
    let accept =
        Said { id, actor: follow.object.clone(), kind: AcceptType::Accept, object: follow };
    let statement = Statement::try_from(serde_json::to_value(accept)?)?;
    send(statement, &followed, vec![follower.inbox()], data).await
}

/// Signs and sends with the crate's own functions.
pub async fn send(
    statement: Statement,
    user: &User,
    inboxes: Vec<Url>,
    data: &Data<Server>,
) -> Result<(), Error> {
    let activity = WithContext::new_default(statement);
    for task in SendActivityTask::prepare(&activity, user, inboxes, data).await? {
        task.sign_and_send(data).await?;
    }
    Ok(())
}
