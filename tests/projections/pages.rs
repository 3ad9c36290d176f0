//! Pages of projections.

use serde_json::{Value, json};

use crate::actor_lifecycle::encoded;
use crate::support::PUBLIC;
use crate::support::node::Node;

/// Sixteen posts with 32 hashtags each; a hashtag has a row with the count and one for each post.
#[test]
fn pages_have_so_many_rows() {
    let node = Node::start();
    node.create("alice");
    for post in 0..16 {
        let tag = |n: usize| json!({ "type": "Hashtag", "name": format!("#t{post:02}x{n:02}") });
        let tags: Vec<Value> = (0..32).map(tag).collect();
        let note = json!({ "type": "Note", "content": "tags", "tag": tags });
        node.publish("alice", &json!({ "type": "Create", "object": note, "to": [PUBLIC] }));
    }
    let head = node.settled_head();
    let page = |form: &str| {
        let path = format!("/projections/hashtags?min_seq={head}{form}");
        let page = node.client().get(&path).expect(200, form).json();
        let keys: Vec<Value> = page["items"].as_array().expect("items").to_vec();
        (keys, page["next"].as_str().map(|next| encoded(next).replace('\n', "%0A")))
    };
    let (all, next) = page("&limit=1000");
    assert_eq!(all.len(), 1000);
    let (rest, end) = page(&format!("&limit=1000&after={}", next.clone().expect("more")));
    assert_eq!((rest.len(), end), (24, None));
    assert_eq!(page("&limit=1001"), (all.clone(), next), "no page has more");
    let (fewer, _) = page("&limit=999");
    assert_eq!(fewer, all[..999]);
}
