//! What is owed to the peer and to its followers: on its way after each round, there at the end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::check::{Checker, OPERATOR, Streams};
use crate::load::{World, secret};
use crate::owed::{origin, owed, ways};
use crate::peer::Mood;
use crate::wire::Wire;

/// How long what is owed to the peer may take once the peer is well.
const SETTLE: Duration = Duration::from_secs(90);

impl Checker {
    /// What the peer must get is there, or still on its way.
    pub fn deliveries(&mut self, world: &World, wire: &Wire, streams: &Streams) -> Result<()> {
        let ways = ways(wire)?;
        let kept = world.peer.kept();
        let owed = owed(world, streams);
        let findings = &mut self.findings;
        findings.owed = owed.len() as u64;
        findings.arrived = owed.iter().filter(|id| kept.contains_key(*id)).count() as u64;
        findings.again = kept.values().map(|times| times - 1).sum();
        for id in &owed {
            let cid = id.rsplit('/').next().unwrap_or_default();
            match ways.get(cid).map(String::as_str) {
                _ if kept.contains_key(id) => {}
                Some("queued" | "parked") => {}
                Some(way) => {
                    findings.lost.insert(format!("{id} is {way}, but the peer has not got it"));
                }
                None => {
                    findings.lost.insert(format!("{id} is owed to the peer, and not queued"));
                }
            }
        }
        // Nothing leaves before it is durable.
        let ours: HashSet<&str> =
            streams.outboxes.values().flatten().map(|entry| entry.activity.id()).collect();
        for id in kept.keys().filter(|id| id.starts_with(&world.base)) {
            if !ours.contains(id.as_str()) {
                findings.wrong.insert(format!("the peer has {id}, which its author has not"));
            }
        }
        Ok(())
    }

    /// At the end of a life: with the peer up, everything owed arrives, and every Follow that
    /// stands is answered.
    pub fn settle(&mut self, world: &World) -> Result<()> {
        world.peer.set(Mood::Well)?;
        let wire = Wire::new(&world.base, Duration::from_secs(120));
        let operator = secret(OPERATOR);
        let origin = world.foreign.first().map(|foreign| origin(&foreign.id)).unwrap_or_default();
        let began = Instant::now();
        loop {
            let path = format!("/admin/dead-letter/replay?peer={origin}");
            let answer = wire.send("POST", &path, Some(&operator), &[], Some(b""))?;
            if answer.status != 200 {
                bail!("POST {path}: {} {}", answer.status, answer.body);
            }
            std::thread::sleep(Duration::from_millis(500));
            self.check(world)?;
            let unanswered = self.unanswered(world);
            if self.findings.arrived == self.findings.owed && unanswered.is_empty() {
                return Ok(());
            }
            if began.elapsed() > SETTLE {
                let missing = self.findings.owed - self.findings.arrived;
                if missing > 0 {
                    let what = format!("{missing} activities did not arrive within {SETTLE:?}");
                    self.findings.lost.insert(what);
                }
                self.findings.lost.extend(unanswered);
                return Ok(());
            }
        }
    }

    /// Follows that stand, and that the instance has not answered.
    fn unanswered(&self, world: &World) -> Vec<String> {
        let pages = world.books.open();
        pages
            .followers
            .values()
            .filter(|(_, undo)| undo.is_none())
            .filter_map(|(follow, _)| pages.deliveries.get(*follow))
            .filter(|follow| follow.acked.is_some() && !self.accepted.contains(&follow.id))
            .map(|follow| format!("{} is not answered", follow.id))
            .collect()
    }
}
