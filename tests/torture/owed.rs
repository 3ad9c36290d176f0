//! What the instance owes to the peer, and where that is.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::books::{Ack, Matter};
use crate::check::{OPERATOR, Streams, acked};
use crate::foreign::PUBLIC;
use crate::load::{World, secret};
use crate::wire::Wire;

pub fn origin(id: &str) -> String {
    fedsx_kernel::address::origin_of(id).unwrap_or_default()
}

/// Where each activity is on its way to the peer, by CID.
pub fn ways(wire: &Wire) -> Result<HashMap<String, String>> {
    let operator = secret(OPERATOR);
    let mut ways = HashMap::new();
    let mut after = String::new();
    loop {
        let path = format!("/projections/delivery-state?limit=1000{after}");
        let page = wire.get(&path, Some(&operator))?;
        let items = page.get("items").and_then(Value::as_array).context("items")?;
        for item in items {
            let text = |name: &str| {
                let value = item.get("value").and_then(|value| value.get(name));
                value.and_then(Value::as_str).unwrap_or_default().to_owned()
            };
            ways.insert(text("cid"), text("status"));
        }
        match page.get("next").and_then(Value::as_str) {
            Some(next) => after = format!("&after={}", escape(next)),
            None => return Ok(ways),
        }
    }
}

fn escape(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// The ids of the activities that the peer must get: those addressed to its actors, and public
/// ones that were acknowledged while an accepted Follow by one of its actors stood. In between,
/// when nobody outside can know whether a Follow counted yet, nothing is demanded.
pub fn owed(world: &World, streams: &Streams) -> BTreeSet<String> {
    let pages = world.books.open();
    let by_marker: HashMap<&str, &Ack> =
        pages.publishes.iter().filter_map(|p| Some((p.marker.as_str(), acked(&p.fate)?))).collect();
    let mut undone: HashMap<usize, u64> = HashMap::new();
    for delivery in &pages.deliveries {
        if let Matter::Undo(follow) = delivery.matter {
            undone.insert(follow, delivery.sent);
        }
    }
    let mut owed = BTreeSet::new();
    for (actor, entries) in &streams.outboxes {
        let accepts: HashMap<&str, usize> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.activity.kind() == "Accept")
            .filter_map(|(at, entry)| Some((entry.activity.object_id()?, at)))
            .collect();
        // From which position on, and until when, the actor had a follower.
        let spans: Vec<(usize, u64)> = pages
            .deliveries
            .iter()
            .enumerate()
            .filter(|(_, delivery)| delivery.matter == Matter::Follow(*actor))
            .filter_map(|(index, delivery)| {
                let until = undone.get(&index).copied().unwrap_or(u64::MAX);
                Some((*accepts.get(delivery.id.as_str())?, until))
            })
            .collect();
        for (at, entry) in entries.iter().enumerate() {
            let audience = entry.activity.audience();
            let direct =
                world.foreign.iter().any(|foreign| audience.contains(&foreign.id.as_str()));
            let marker = entry.activity.get("summary").and_then(Value::as_str);
            let ack = marker.and_then(|marker| by_marker.get(marker));
            let public = audience.contains(&PUBLIC)
                && ack.is_some_and(|ack| {
                    spans.iter().any(|(from, until)| *from < at && ack.at < *until)
                });
            if direct || public {
                owed.insert(entry.activity.id().to_owned());
            }
        }
    }
    owed
}
