//! Reading the follow graph.

use fedsx_kernel::state::{StateError, StateView, parts};
use serde_json::Value;

use super::{FOLLOWERS, FOLLOWING, Graph, PENDING_INBOUND, PENDING_OUTBOUND, Relation};

impl Graph {
    /// Up to `limit` accepted followers of an actor in the order of their ids, from the one after
    /// `after` on.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn followers(
        &self,
        view: &dyn StateView,
        actor: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        self.list(view, FOLLOWERS, actor, after, limit)
    }

    /// The actors that an actor follows, accepted; paged like [`Graph::followers`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn following(
        &self,
        view: &dyn StateView,
        actor: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        self.list(view, FOLLOWING, actor, after, limit)
    }

    /// The actors whose Follow waits for this actor's answer; paged like [`Graph::followers`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn pending_inbound(
        &self,
        view: &dyn StateView,
        actor: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        self.list(view, PENDING_INBOUND, actor, after, limit)
    }

    /// The actors whose answer this actor waits for; paged like [`Graph::followers`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn pending_outbound(
        &self,
        view: &dyn StateView,
        actor: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        self.list(view, PENDING_OUTBOUND, actor, after, limit)
    }

    /// How a follower stands to a followed actor.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn relation(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<Relation, StateError> {
        if view.get(&self.key(&[FOLLOWING, follower, followed]))?.is_some() {
            Ok(Relation::Accepted)
        } else if view.get(&self.key(&[PENDING_OUTBOUND, follower, followed]))?.is_some() {
            Ok(Relation::Pending)
        } else {
            Ok(Relation::None)
        }
    }

    /// The id of the Follow by which the two are related, accepted or pending.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn follow_id(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<Option<String>, StateError> {
        for listing in [FOLLOWING, PENDING_OUTBOUND] {
            if let Some(value) = view.get(&self.key(&[listing, follower, followed]))? {
                return Ok(value.get("follow").and_then(Value::as_str).map(str::to_owned));
            }
        }
        Ok(None)
    }

    /// The accepted followers of an actor that are of one origin; paged like
    /// [`Graph::followers`].
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn followers_at(
        &self,
        view: &dyn StateView,
        actor: &str,
        origin: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        // An origin holds nothing that keys escape, so the ids of one origin stand together.
        let prefix = format!("{}{origin}/", self.prefix_of(&[FOLLOWERS, actor]));
        let after = after.map(|other| self.key(&[FOLLOWERS, actor, other]));
        let entries = view.scan(&prefix, after.as_deref(), limit)?;
        Ok(entries.into_iter().filter_map(|(key, _)| parts(&key).pop()).collect())
    }

    /// Whether this id is that of a Follow of `followed` which was stated and not undone.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn is_follow_of(
        &self,
        view: &dyn StateView,
        id: &str,
        followed: &str,
    ) -> Result<bool, StateError> {
        self.facts().follows(view, id, followed)
    }

    /// Who stated the Follow or Block with this id, while it stands.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn author_of(&self, view: &dyn StateView, id: &str) -> Result<Option<String>, StateError> {
        self.facts().author_of(view, id)
    }

    /// The ids of the Follows that would relate the two if nobody had blocked anybody: stated, not
    /// undone and not rejected. Of servers that send no times there may be several.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn standing_follows(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<Vec<String>, StateError> {
        self.facts().standing_follows(view, follower, followed)
    }

    /// Whether an actor has ever stated a Follow of another, whatever became of it.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn ever_followed(
        &self,
        view: &dyn StateView,
        follower: &str,
        followed: &str,
    ) -> Result<bool, StateError> {
        self.facts().ever_followed(view, follower, followed)
    }

    /// Whether a Block by `actor` of `other` is in force.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn blocks(
        &self,
        view: &dyn StateView,
        actor: &str,
        other: &str,
    ) -> Result<bool, StateError> {
        self.facts().blocks(view, actor, other)
    }

    pub(super) fn list(
        &self,
        view: &dyn StateView,
        listing: &str,
        actor: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<String>, StateError> {
        let prefix = self.prefix_of(&[listing, actor]);
        let after = after.map(|other| self.key(&[listing, actor, other]));
        let entries = view.scan(&prefix, after.as_deref(), limit)?;
        Ok(entries.into_iter().filter_map(|(key, _)| parts(&key).pop()).collect())
    }
}
