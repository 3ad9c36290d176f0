//! What goes wrong, and when: drawn before the run, so that it can be told.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::dice::Dice;
use super::world::World;

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    pub at: Duration,
    pub lasts: Duration,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    /// These instances and the others do not reach each other.
    Partition(Vec<usize>),
    /// Nothing gets through in one direction.
    OneWay(usize, usize),
    /// An instance loses power.
    Crash(usize),
    /// An instance loses power at the so manieth write from then on.
    CrashAtWrite { node: usize, writes: i64, last_is_kept: bool },
    /// An instance is restarted in good order.
    Restart(usize),
    /// So many percent of requests are cut, held or copied.
    Mischief(i64),
    /// A clock is set by so many milliseconds.
    Jump(usize, i64),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {:?} for {:?}: {:?}", self.at, self.lasts, self.what)
    }
}

/// The faults of a run over `span`. With `away`, one instance is gone for a day and longer.
pub fn schedule(dice: &Dice, nodes: usize, span: Duration, away: bool) -> Vec<Fault> {
    let mut faults = Vec::new();
    for _ in 0..dice.between(2, 9) {
        let at = Duration::from_millis(dice.between(0, u64::try_from(span.as_millis()).unwrap()));
        let node = dice.below(nodes);
        let (what, lasts) = match dice.below(16) {
            0..3 => {
                let side: Vec<_> = (0..nodes).filter(|_| dice.chance(50)).collect();
                (What::Partition(side), dice.seconds(1, 600))
            }
            3..5 => {
                let other = (node + 1 + dice.below(nodes - 1)) % nodes;
                (What::OneWay(node, other), dice.seconds(1, 600))
            }
            5..7 => (What::Crash(node), dice.seconds(0, 400)),
            7..11 => {
                let writes = i64::try_from(dice.between(0, 60)).unwrap();
                let what = What::CrashAtWrite { node, writes, last_is_kept: dice.chance(50) };
                (what, dice.seconds(0, 300))
            }
            11 => (What::Restart(node), dice.seconds(0, 60)),
            12..15 => {
                let percent = i64::try_from(dice.between(5, 60)).unwrap();
                (What::Mischief(percent), dice.seconds(30, 900))
            }
            _ => {
                let by_ms = i64::try_from(dice.between(0, 120_000)).unwrap() - 60_000;
                (What::Jump(node, by_ms), Duration::ZERO)
            }
        };
        faults.push(Fault { at, lasts, what });
    }
    if away {
        let lasts = dice.seconds(20 * 3600, 60 * 3600);
        let at = dice.seconds(1, 300);
        let what = match dice.below(3) {
            0 => What::Crash(dice.below(nodes)),
            1 => What::Partition(vec![dice.below(nodes)]),
            _ => {
                let node = dice.below(nodes);
                What::OneWay(node, (node + 1 + dice.below(nodes - 1)) % nodes)
            }
        };
        faults.push(Fault { at, lasts, what });
    }
    faults.sort_by_key(|fault| fault.at);
    faults
}

/// Sees to one fault, from its beginning to its end.
pub async fn happen(world: Arc<World>, fault: Fault) {
    sleep(fault.at).await;
    world.trace.note(&format!("fault begins: {fault}"));
    let nodes = world.nodes.len();
    let ways = |side: &[usize]| -> Vec<(usize, usize)> {
        let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        all.filter(|(from, to)| side.contains(from) != side.contains(to)).collect()
    };
    match &fault.what {
        What::Partition(side) => {
            ways(side).iter().for_each(|(from, to)| world.net.close(*from, *to));
            sleep(fault.lasts).await;
            ways(side).iter().for_each(|(from, to)| world.net.open(*from, *to));
        }
        What::OneWay(from, to) => {
            world.net.close(*from, *to);
            sleep(fault.lasts).await;
            world.net.open(*from, *to);
        }
        What::Crash(node) => {
            world.nodes[*node].crash("as planned");
            world.hold(*node, 1);
            sleep(fault.lasts).await;
            world.hold(*node, -1);
            world.revive(*node).await;
        }
        What::CrashAtWrite { node, writes, last_is_kept } => {
            world.nodes[*node].crash_at_write(*writes, *last_is_kept);
            sleep(fault.lasts).await;
        }
        What::Restart(node) => {
            world.hold(*node, 1);
            world.nodes[*node].stop().await;
            sleep(fault.lasts).await;
            world.hold(*node, -1);
            world.revive(*node).await;
        }
        What::Mischief(percent) => {
            world.net.mischief(*percent);
            sleep(fault.lasts).await;
            world.net.mischief(-*percent);
        }
        What::Jump(node, by_ms) => world.nodes[*node].jump(*by_ms),
    }
    world.trace.note(&format!("fault ends: {fault}"));
}
