//! One line for each figure.

use std::time::Duration;

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::limits::Limits;
use crate::load::Outcome;
use crate::shared::node::{Node, own_cpu};

/// A load, and what it cost.
pub struct Measured {
    /// What came of the requests.
    pub outcome: Outcome,
    /// What the instance used of the processors until the last answer.
    cpu: Duration,
    /// The same until it rested again: whatever follows the log had caught up.
    settled: Duration,
    /// What this process used.
    own: Duration,
}

impl Measured {
    /// Runs a load.
    pub fn of(node: &Node, load: impl FnOnce() -> Result<Outcome>) -> Result<Self> {
        let (before, own) = (node.cpu()?, own_cpu()?);
        let outcome = load()?;
        let (answered, own) = (node.cpu()?, own_cpu()?.saturating_sub(own));
        node.rest()?;
        let settled = node.cpu()?.saturating_sub(before);
        Ok(Self { outcome, cpu: answered.saturating_sub(before), settled, own })
    }

    /// Processor time of the instance for each request that was taken, until it rested again.
    pub fn settled_us(&self) -> f64 {
        self.each_us(self.settled)
    }

    /// Processor time of the load generator for each request, whatever became of it.
    pub fn client_us_of_any(&self) -> f64 {
        let Outcome { taken, turned_away, failed, .. } = self.outcome;
        self.own.as_secs_f64() * 1e6 / as_f64((taken + turned_away + failed).max(1))
    }

    /// Processor time of the instance for each request that was turned away, where one that is taken costs so much.
    pub fn turned_away_us(&self, taken_us: f64) -> f64 {
        let Outcome { taken, turned_away, .. } = self.outcome;
        (self.settled_us() - taken_us) * as_f64(taken) / as_f64(turned_away.max(1))
    }

    /// Prints the line: rate and latencies by the clock, processor time for each request that was
    /// taken, and the share of the processors that the two processes had.
    pub fn tell(&self, name: &str, limits: Option<&Limits>) {
        let outcome = &self.outcome;
        print!(
            "{name} taken={} turned_away={} failed={} per_s={:.0} {} cpu_us={:.1} settled_cpu_us={:.1} \
             client_cpu_us={:.1} cores={:.2}",
            outcome.taken,
            outcome.turned_away,
            outcome.failed,
            outcome.per_second(),
            percentiles(&outcome.latency),
            self.each_us(self.cpu),
            self.settled_us(),
            self.each_us(self.own),
            (self.cpu + self.own).as_secs_f64() / outcome.elapsed.as_secs_f64(),
        );
        if let Some(limits) = limits {
            let verify_us = limits.ed25519_verify_us;
            let p50 = as_f64(outcome.latency.value_at_quantile(0.5));
            let p99 = as_f64(outcome.latency.value_at_quantile(0.99));
            print!(
                " verify_us={verify_us:.1} sync_us={:.0} rate_of_verify={:.3} cpu_in_verifies={:.2} \
                 p50_in_syncs={:.2} p99_in_syncs={:.2}",
                limits.sync_us,
                outcome.per_second() * verify_us / 1e6,
                self.each_us(self.cpu) / verify_us,
                p50 / limits.sync_us,
                p99 / limits.sync_us,
            );
        }
        println!();
    }

    fn each_us(&self, time: Duration) -> f64 {
        time.as_secs_f64() * 1e6 / as_f64(self.outcome.taken.max(1))
    }
}

/// The usual three, in microseconds.
pub fn percentiles(latency: &Histogram<u64>) -> String {
    format!(
        "p50_us={} p99_us={} p999_us={}",
        latency.value_at_quantile(0.5),
        latency.value_at_quantile(0.99),
        latency.value_at_quantile(0.999)
    )
}

#[allow(clippy::cast_precision_loss, reason = "counts and times are small")]
fn as_f64(number: u64) -> f64 {
    number as f64
}
