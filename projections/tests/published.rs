//! Which published projections run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod common;

use common::*;
use fedsx_genesis::script::Scripts;
use fedsx_projections::Fold as _;
use fedsx_projections::published::{MAX_PUBLISHED, published};
use serde_json::json;

#[tokio::test]
async fn so_many_projections_run() {
    let (_storage, log) = open_log();
    let (base, scripts) = (BASE.parse().unwrap(), Scripts::new());
    let name = |n: usize| format!("p{n:04}");
    let says = async |seq: usize, content| append(&log, &(say(0, seq, content), false)).await;
    let defines = |n: usize| {
        let definition =
            json!({ "type": "DefineProjection", "name": name(n), "fold": "state = 1;" });
        json!({ "type": "DefineProjection", "to": [PUBLIC], "object": definition })
    };
    let running = || {
        let folds = published(log.store(), &base, &scripts).unwrap();
        folds.iter().map(|fold| fold.name().to_owned()).collect::<Vec<_>>()
    };
    for n in 0..MAX_PUBLISHED {
        says(n, defines(n)).await;
    }
    let all: Vec<_> = (0..MAX_PUBLISHED).map(name).collect();
    assert_eq!(running(), all);
    says(MAX_PUBLISHED, defines(MAX_PUBLISHED)).await;
    assert_eq!(running(), all, "one more waits");
    let undo =
        json!({ "type": "Undo", "to": [PUBLIC], "object": say(0, 0, defines(0)).to_value() });
    says(MAX_PUBLISHED + 1, undo).await;
    let later: Vec<_> = (1..=MAX_PUBLISHED).map(name).collect();
    assert_eq!(running(), later, "it runs where another one ended");
}
