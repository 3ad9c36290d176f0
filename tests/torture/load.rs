//! The load: local actors publish, foreign actors deliver, follow and undo, all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::books::Books;
use crate::deliver::Sender;
use crate::dice::Dice;
use crate::foreign::Foreign;
use crate::peer::Peer;
use crate::publish::Publisher;
use crate::wire::Wire;

/// Hosted actors.
pub const ACTORS: usize = 8;
/// Threads that publish; some actors have two.
const PUBLISHERS: usize = 12;
/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// One instance, its peer, and the books on both.
pub struct World {
    pub books: Books,
    pub base: String,
    pub foreign: Vec<Arc<Foreign>>,
    pub peer: Peer,
    /// How many of a hundred publishes are large.
    pub large: u64,
    markers: AtomicU64,
    label: String,
}

pub fn actor_name(index: usize) -> String {
    format!("actor{index}")
}

pub fn secret(name: &str) -> String {
    format!("{name}-secret-0123456789")
}

impl World {
    pub fn new(
        base: &str,
        label: &str,
        foreign: Vec<Arc<Foreign>>,
        peer: Peer,
        large: u64,
    ) -> Self {
        let (base, label) = (base.to_owned(), label.to_owned());
        let (books, markers) = (Books::default(), AtomicU64::new(0));
        Self { books, base, foreign, peer, large, markers, label }
    }

    pub fn actor(&self, index: usize) -> String {
        format!("{}/actors/{}", self.base, actor_name(index))
    }

    /// A text that stands in one activity only.
    pub fn marker(&self) -> String {
        format!("{}-{}", self.label, self.markers.fetch_add(1, Ordering::SeqCst))
    }
}

/// The load of one round.
pub struct Load<'scope> {
    stop: Arc<AtomicBool>,
    threads: Vec<ScopedJoinHandle<'scope, Result<()>>>,
}

impl<'scope> Load<'scope> {
    /// Starts all threads. `calm` keeps the peer up.
    pub fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        world: &'env World,
        dice: &Dice,
        calm: bool,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..PUBLISHERS {
            let (dice, stop) = (dice.fork(), stop.clone());
            let publisher = Publisher {
                world,
                wire: Wire::new(&world.base, PATIENCE),
                actor: number % ACTORS,
                leads: number < ACTORS,
                dice,
            };
            threads.push(scope.spawn(move || publisher.run(&stop)));
        }
        for number in 0..world.foreign.len() {
            let (dice, stop) = (dice.fork(), stop.clone());
            let wire = Wire::new(&world.base, PATIENCE);
            let sender = Sender { world, wire, number, dice };
            threads.push(scope.spawn(move || sender.run(&stop)));
        }
        let (dice, stopped) = (dice.fork(), stop.clone());
        threads.push(scope.spawn(move || {
            if calm {
                return world.peer.set(crate::peer::Mood::Well);
            }
            world.peer.wander(&dice, || stopped.load(Ordering::SeqCst))
        }));
        Self { stop, threads }
    }

    /// Ends the load, once the instance is gone.
    pub fn stop(self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread of the load panicked"),
            }
        }
        Ok(())
    }
}
