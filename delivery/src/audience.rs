//! Who elsewhere an activity is for (ActivityPub, section 7.1).

use std::collections::HashSet;

use fedsx_genesis::forwarding;
use fedsx_genesis::graph::Graph;
use fedsx_kernel::activity::ids_in;
use fedsx_kernel::address::same_origin;
use fedsx_kernel::state::{StateError, StateView};
use fedsx_kernel::{Activity, Base, origin_of};

/// Followers are read in pages of this size.
const PAGE: usize = 1024;

/// Whether an id stands for everyone (ActivityPub, section 5.6).
pub fn is_public(id: &str) -> bool {
    matches!(id, "https://www.w3.org/ns/activitystreams#Public" | "as:Public" | "Public")
}

/// Whether an activity is addressed to more than the actors that it names.
pub fn is_wide(activity: &Activity, hidden: &[String]) -> bool {
    let followers = followers_of(activity.actor());
    addressed(activity, hidden).iter().any(|id| is_public(id) || *id == followers)
}

/// The actors of other instances that an activity is owed to: `to`, `cc` and the hidden ones, in
/// order, each once. The public and the author's followers collection stand for the author's
/// followers as `state` has them. The followers of somebody else are for that actor's instance to
/// know, so that the actor itself stands for them, as far as `known` tells. Self, local actors and
/// what is no http address are left out.
///
/// # Errors
/// Where the graph cannot be read.
pub fn recipients(
    graph: &Graph,
    (state, known): (&dyn StateView, &dyn StateView),
    base: &Base,
    activity: &Activity,
    hidden: &[String],
) -> Result<Vec<String>, StateError> {
    let author = activity.actor();
    let followers = followers_of(author);
    let mut found = Found { base, author, seen: HashSet::new(), ids: Vec::new() };
    let mut expanded = false;
    for id in addressed(activity, hidden) {
        if !is_public(id) && *id != followers {
            found.add(forwarding::owner_of(known, id)?.unwrap_or(id));
            continue;
        }
        if !std::mem::replace(&mut expanded, true) {
            each_follower(graph, state, author, |follower| found.add(follower))?;
        }
    }
    Ok(found.ids)
}

/// The actors of other instances to whom an activity from elsewhere is forwarded (ActivityPub,
/// section 7.1.2): the followers of `owners`, but for those on the author's own instance and those
/// who are named in it, whom the author reaches.
///
/// # Errors
/// Where the graph cannot be read.
pub fn forwarded(
    graph: &Graph,
    state: &dyn StateView,
    base: &Base,
    activity: &Activity,
    owners: &[String],
) -> Result<Vec<String>, StateError> {
    let author = activity.actor();
    let reached = addressed(activity, &[]).into_iter().map(str::to_owned).collect();
    let mut found = Found { base, author, seen: reached, ids: Vec::new() };
    for owner in owners {
        each_follower(graph, state, owner, |follower| {
            if !same_origin(follower, author) {
                found.add(follower);
            }
        })?;
    }
    Ok(found.ids)
}

fn each_follower(
    graph: &Graph,
    state: &dyn StateView,
    actor: &str,
    mut take: impl FnMut(&str),
) -> Result<(), StateError> {
    let mut after: Option<String> = None;
    loop {
        let page = graph.followers(state, actor, after.as_deref(), PAGE)?;
        page.iter().for_each(|follower| take(follower));
        match page.into_iter().nth(PAGE - 1) {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// The collection that stands for an actor's followers.
pub fn followers_of(actor: &str) -> String {
    format!("{actor}/followers")
}

fn addressed<'a>(activity: &'a Activity, hidden: &'a [String]) -> Vec<&'a str> {
    let open = ["to", "cc", "audience"].into_iter().flat_map(|name| ids_in(activity.get(name)));
    open.chain(hidden.iter().map(String::as_str)).collect()
}

struct Found<'a> {
    base: &'a Base,
    author: &'a str,
    seen: HashSet<String>,
    ids: Vec<String>,
}

impl Found<'_> {
    fn add(&mut self, id: &str) {
        let foreign = origin_of(id).is_some_and(|origin| origin != self.base.as_str());
        if foreign && id != self.author && self.seen.insert(id.to_owned()) {
            self.ids.push(id.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
    use fedsx_kernel::state::MemoryState;
    use serde_json::{Value, json};

    use super::*;

    const ALICE: &str = "https://here.example/actors/alice";
    const PUBLIC: &str = "https://www.w3.org/ns/activitystreams#Public";

    fn activity(mut content: Value) -> Activity {
        let members = content.as_object_mut().unwrap();
        members.entry("type").or_insert("Note".into());
        members.entry("actor").or_insert(ALICE.into());
        Activity::seal(members.clone()).unwrap()
    }

    /// The recipients of what Alice addresses so, with followers Fay and Flo elsewhere and one
    /// here.
    fn check(content: Value, hidden: &[&str], expected: &[&str]) {
        let (graph, mut state) = (Graph::new("g"), MemoryState::default());
        for follower in [
            "https://a.example/fay",
            "https://b.example/flo",
            "https://here.example/actors/bob",
            "https://c.example/pending",
        ] {
            let follow = json!({"type": "Follow", "actor": follower, "object": ALICE, "seq": 1});
            let follow = activity(follow);
            graph.fold(&mut state, &follow).unwrap();
            if !follower.ends_with("pending") {
                let accept = json!({"type": "Accept", "seq": 2, "object": follow.to_value()});
                graph.fold(&mut state, &activity(accept)).unwrap();
            }
        }
        let base = "https://here.example".parse().unwrap();
        let hidden: Vec<_> = hidden.iter().map(|id| (*id).to_owned()).collect();
        let found =
            recipients(&graph, (&state, &state), &base, &activity(content), &hidden).unwrap();
        assert_eq!(found, expected);
    }

    const FAY: &str = "https://a.example/fay";
    const FLO: &str = "https://b.example/flo";
    const ZOE: &str = "https://z.example/zoe";

    #[test]
    fn named_recipients() {
        check(json!({"to": [ZOE]}), &[], &[ZOE]);
        check(json!({"to": ZOE}), &[], &[ZOE]);
        check(json!({"to": {"type": "Person", "id": ZOE}}), &[], &[ZOE]);
        check(
            json!({"to": [ZOE], "cc": [FAY]}),
            &["https://h.example/hid"],
            &[ZOE, FAY, "https://h.example/hid"],
        );
        check(json!({"to": [ZOE, FAY], "cc": [ZOE]}), &[FAY], &[ZOE, FAY]);
    }

    #[test]
    fn followers() {
        let collection = format!("{ALICE}/followers");
        check(json!({"to": [collection]}), &[], &[FAY, FLO]);
        check(json!({"cc": [format!("{ALICE}/followers")]}), &[], &[FAY, FLO]);
        check(json!({}), &[&format!("{ALICE}/followers")], &[FAY, FLO]);
        check(json!({"to": [FLO, format!("{ALICE}/followers"), ZOE]}), &[], &[FLO, FAY, ZOE]);
    }

    #[test]
    fn the_public() {
        for public in [PUBLIC, "as:Public", "Public"] {
            check(json!({"to": [public]}), &[], &[FAY, FLO]);
        }
        let both = json!({"to": [PUBLIC], "cc": [format!("{ALICE}/followers"), ZOE]});
        check(both, &[], &[FAY, FLO, ZOE]);
    }

    #[test]
    fn nobody() {
        check(json!({}), &[], &[]);
        check(json!({"to": []}), &[], &[]);
        check(json!({"to": [ALICE]}), &[], &[]);
        check(json!({"to": ["https://here.example/actors/bob"]}), &[], &[]);
        check(json!({"to": ["urn:uuid:1", "did:key:z6Mk", "mailto:a@b.example"]}), &[], &[]);
    }

    #[test]
    fn collections_of_others_are_not_expanded() {
        let other = "https://here.example/actors/bob/followers";
        check(json!({"to": [other]}), &[], &[]);
    }

    #[test]
    fn width() {
        assert!(is_wide(&activity(json!({"cc": [PUBLIC]})), &[]));
        assert!(is_wide(&activity(json!({"to": [format!("{ALICE}/followers")]})), &[]));
        assert!(!is_wide(&activity(json!({"to": [ZOE]})), &[FAY.to_owned()]));
    }

    #[test]
    fn many_followers_are_read_in_pages() {
        let (graph, mut state) = (Graph::new("g"), MemoryState::default());
        for n in 0..(PAGE * 2 + 1) {
            let follower = format!("https://f.example/{n}");
            let follow =
                activity(json!({"type": "Follow", "actor": follower, "object": ALICE, "seq": 1}));
            graph.fold(&mut state, &follow).unwrap();
            let accept = json!({"type": "Accept", "seq": n, "object": follow.to_value()});
            graph.fold(&mut state, &activity(accept)).unwrap();
        }
        let base = "https://here.example".parse().unwrap();
        let note = activity(json!({"to": [PUBLIC]}));
        let found = recipients(&graph, (&state, &state), &base, &note, &[]).unwrap();
        assert_eq!(found.len(), PAGE * 2 + 1);
    }
}
