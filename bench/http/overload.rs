//! More than an instance can take.

use anyhow::Result;

use crate::deliver::{Way, acquainted};
use crate::load::Arrivals;
use crate::report::percentiles;
use crate::{Bench, limits};

/// Deliveries by which the capacity is found.
const FINDING: usize = 10_000;
/// How many times the capacity is offered.
const TIMES: f64 = 3.0;
/// Connections over which it comes, so that waiting for answers holds up no arrival.
const CONNECTIONS: usize = 2_000;
/// Clients with which the capacity is found.
const CLIENTS: usize = 64;

/// Deliveries with a proof alone, at three times the capacity. That is found before and afterwards, since
/// the log grows meanwhile and the machine may do something else, too; what is done in
/// between is compared with the mean of both.
pub fn measure(bench: &Bench) -> Result<()> {
    let directory = bench.directory()?;
    let (node, mut peer) = acquainted(bench, &directory)?;
    // The first ones find empty memories, and do not count.
    let requests = peer.sign(&node, Way::Proof, FINDING)?;
    bench.load(&node, requests, Arrivals::Closed(CLIENTS))?;
    let requests = peer.sign(&node, Way::Proof, FINDING)?;
    let limits = limits::measure(directory.path())?;
    let found = bench.load(&node, requests, Arrivals::Closed(CLIENTS))?;
    found.tell(&format!("overload capacity clients={CLIENTS}"), Some(&limits));
    let (_, before_kib) = node.resident_kib()?;
    let peak = found.outcome.per_second();
    let per_second = peak * TIMES;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let count = (per_second * bench.lasting.as_secs_f64()) as usize;
    let requests = peer.sign(&node, Way::Proof, count)?;
    let arrivals = Arrivals::Open { per_second, connections: CONNECTIONS };
    let over = bench.load(&node, requests, arrivals)?;
    over.tell(&format!("overload offered_per_s={per_second:.0}"), Some(&limits));
    let (_, most_kib) = node.resident_kib()?;
    let requests = peer.sign(&node, Way::Proof, FINDING)?;
    let again = bench.load(&node, requests, Arrivals::Closed(CLIENTS))?;
    again.tell(&format!("overload capacity-afterwards clients={CLIENTS}"), Some(&limits));
    println!(
        "overload of_peak={:.2} of_peak_before={:.2} of_peak_afterwards={:.2} turned_away={} turned_away_cpu_us={:.1} client_cpu_us_of_any={:.1} refusal {} \
         most_mib={} before_mib={}",
        2.0 * over.outcome.per_second() / (peak + again.outcome.per_second()),
        over.outcome.per_second() / peak,
        over.outcome.per_second() / again.outcome.per_second(),
        over.outcome.turned_away,
        over.turned_away_us(found.settled_us()),
        over.client_us_of_any(),
        percentiles(&over.outcome.refusal),
        most_kib / 1024,
        before_kib / 1024
    );
    Ok(())
}
