//! Every metric of an instance: its name, what it says, and its labels. No other file names any.
//!
//! A label takes few values by construction, and none that somebody outside chooses: peers are
//! counted by state, not named; routes are patterns; statuses are codes. [`ALL`] lists everything,
//! so that a test can hold a running instance, the dashboard and the alert rules to this file.
//!
//! Recording goes to the recorder of the process. Without one, as in simulations, it does nothing.

mod handles;

use self::handles::Handles;
pub use self::handles::recorder_installed;
use crate::refusal::Problem;

/// The values that a label takes.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// One of these.
    Of(&'static [&'static str]),
    /// The slug of a kind of refusal ([`Problem::slug`]).
    Problems,
    /// The pattern of a route, such as `/actors/{name}`, or `none` where no route fits.
    Routes,
    /// The three digits of an HTTP status.
    Statuses,
    /// The name of a built-in projection, or `published` for the one of the others that is worst.
    Projections,
    /// The version of this program.
    Version,
}

impl Values {
    /// The values that can be told beforehand.
    pub fn known(self) -> Option<Vec<&'static str>> {
        match self {
            Self::Of(values) => Some(values.to_vec()),
            Self::Problems => Some(Problem::ALL.iter().map(|problem| problem.slug()).collect()),
            Self::Routes | Self::Statuses | Self::Projections | Self::Version => None,
        }
    }
}

/// A label of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// The values that it takes.
    pub values: Values,
}

const fn label(name: &'static str, values: Values) -> Label {
    Label { name, values }
}

const ROUTE: Label = label("route", Values::Routes);
const STATUS: Label = label("status", Values::Statuses);
const PROBLEM: Label = label("problem", Values::Problems);
const PROJECTION: Label = label("projection", Values::Projections);
const VERSION: Label = label("version", Values::Version);
const METHOD: Label = label("method", Values::Of(&METHODS));
/// The methods that are told apart.
pub const METHODS: [&str; 8] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"];
const TAKEN: Label = label("outcome", Values::Of(&["accepted", "already", "ignored", "refused"]));
const APPENDED: Label = label("outcome", Values::Of(&["appended", "already", "refused"]));
const HOLDS: Label = label("outcome", Values::Of(&["valid", "invalid"]));
const SCHEME: Label = label("scheme", Values::Of(&["data-integrity", "rfc9421", "draft-cavage"]));
const ATTEMPTED: Label = label(
    "outcome",
    Values::Of(&[
        "delivered",
        "skipped",
        "erased",
        "parked",
        "retried",
        "peer-failed",
        "failed-here",
    ]),
);
const ANSWERED: Label = label(
    "outcome",
    Values::Of(&[
        "2xx",
        "3xx",
        "4xx",
        "5xx",
        "unreachable",
        "certificate",
        "unusable",
        "refused-here",
        "failed-here",
    ]),
);
const PURPOSE: Label = label("purpose", Values::Of(&["post", "fetch"]));
const PEER_STATE: Label = label("state", Values::Of(&["well", "backing-off", "given-up"]));
const FOLLOWER: Label = label("follower", Values::Of(&["delivery", "reactions", "triggers"]));
const JOB_STATE: Label = label("state", Values::Of(&["waiting", "running"]));
const REASON: Label = label(
    "reason",
    Values::Of(&[
        "starting",
        "draining",
        "store-poisoned",
        "disk-low",
        "projection-halted",
        "projection-behind",
        "delivery-behind",
        "reactions-behind",
        "triggers-behind",
    ]),
);
const SHED: Label = label(
    "reason",
    Values::Of(&[
        "uri",
        "headers",
        "client-rate",
        "actor-rate",
        "body",
        "memory",
        "concurrent",
        "in-flight",
        "behind",
        "connections",
    ]),
);
const TOKEN: Label = label("outcome", Values::Of(&["accepted", "refused"]));

/// Upper bounds of buckets for times, in seconds: from what a cached read takes to what clients
/// wait for at most.
const SECONDS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Upper bounds of buckets for the number of appends in a commit.
const SIZES: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0];

/// What a metric measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Only rises, from 0 at the start of the process.
    Counter,
    /// A value of now.
    Gauge,
    /// A distribution, with the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// A metric with everything that this file says of it.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name, with the unit.
    pub name: &'static str,
    /// What it says.
    pub help: &'static str,
    /// What it measures.
    pub kind: Kind,
    /// Its labels, in the order in which values are given.
    pub labels: &'static [Label],
}

macro_rules! metrics {
    (@counter) => { Kind::Counter };
    (@gauge) => { Kind::Gauge };
    (@histogram $buckets:expr) => { Kind::Histogram($buckets) };
    ($($(#[doc = $help:literal])+ $kind:ident $(($buckets:expr))? $id:ident: $name:literal [$($label:expr),*];)+) => {
        $($(#[doc = $help])+
        pub const $id: Metric = Metric {
            name: $name,
            help: concat!($($help),+),
            kind: metrics!(@$kind $($buckets)?),
            labels: &[$($label),*],
        };)+

        /// Every metric.
        pub const ALL: &[Metric] = &[$($id),+];
    };
}

metrics! {
    // Requests to this instance.

    /// Requests answered, by pattern of the route, method and status.
    counter HTTP_REQUESTS: "fedsx_http_requests_total" [ROUTE, METHOD, STATUS];
    /// Seconds from the head of a request to the head of its answer, by pattern of the route.
    histogram (SECONDS) HTTP_SECONDS: "fedsx_http_request_seconds" [ROUTE];
    /// Requests that are being worked on.
    gauge HTTP_IN_FLIGHT: "fedsx_http_requests_in_flight" [];
    /// Open connections.
    gauge HTTP_CONNECTIONS: "fedsx_http_connections" [];
    /// Requests turned away before they were looked at, by limit: size of path or header fields, rate
    /// of the client or of the actor whose token it bears, size or pace of the body, memory of all
    /// bodies, too much of one client or of all under way, the instance being behind, connections.
    counter HTTP_SHED: "fedsx_http_requests_shed_total" [SHED];
    /// The share of requests that is refused because the instance is behind, 0 to 1.
    gauge SHED_SHARE: "fedsx_http_shed_share" [];
    /// Seconds that work waits for its turn, measured while much is under way.
    histogram (SECONDS) QUEUEING_SECONDS: "fedsx_queueing_seconds" [];
    /// Bytes of request bodies in memory.
    gauge BODY_BYTES: "fedsx_http_body_bytes" [];
    /// Problem documents sent, by the slug of the problem.
    counter PROBLEMS: "fedsx_http_problems_total" [PROBLEM];
    /// Bearer tokens presented, and whether they were taken.
    counter TOKENS: "fedsx_tokens_presented_total" [TOKEN];

    // What came in.

    /// Deliveries to inboxes: appended, held before, of no consequence, refused.
    counter RECEIVED: "fedsx_inbox_deliveries_total" [TAKEN];
    /// Deliveries that were refused, by the slug of the problem.
    counter REFUSED: "fedsx_inbox_refusals_total" [PROBLEM];
    /// Signatures checked on what came in: proofs on activities, and HTTP signatures by scheme.
    counter SIGNATURES: "fedsx_signatures_verified_total" [SCHEME, HOLDS];
    /// Statements that came under a number which their author had given to another one.
    counter EQUIVOCATIONS: "fedsx_equivocations_total" [];

    // The log.

    /// Activities that actors here published, those of triggers and of the instance included.
    counter PUBLISHED: "fedsx_activities_published_total" [];
    /// Appends that the log's writer decided about.
    counter APPENDS: "fedsx_log_appends_total" [APPENDED];
    /// Batches that the log committed, each with one sync.
    counter COMMITS: "fedsx_log_commits_total" [];
    /// Seconds that one commit took, from planning the batch to the end of its sync.
    histogram (SECONDS) COMMIT_SECONDS: "fedsx_log_commit_seconds" [];
    /// Appends in one commit.
    histogram (SIZES) COMMIT_APPENDS: "fedsx_log_commit_appends" [];
    /// Seconds until the device had what was written to it, for each sync.
    histogram (SECONDS) SYNC_SECONDS: "fedsx_log_sync_seconds" [];
    /// The last position of the log.
    gauge LOG_HEAD: "fedsx_log_global_seq" [];
    /// Appends that wait for the log's writer.
    gauge LOG_WAITING: "fedsx_log_appends_waiting" [];
    /// 1 where the store takes no more writes until a restart, else 0.
    gauge LOG_POISONED: "fedsx_log_poisoned" [];
    /// Bytes that the file system of the data directory has free.
    gauge DISK_FREE: "fedsx_disk_free_bytes" [];
    /// Bytes that are kept free: with less, nothing is published or received any more.
    gauge DISK_RESERVE: "fedsx_disk_reserve_bytes" [];
    /// Hosted actors in memory.
    gauge HOSTED: "fedsx_hosted_actors_in_memory" [];

    // What follows the log.

    /// Entries of the log that a projection has still to fold.
    gauge PROJECTION_LAG: "fedsx_projection_lag_entries" [PROJECTION];
    /// The position of a projection.
    gauge PROJECTION_SEQ: "fedsx_projection_global_seq" [PROJECTION];
    /// Records that a projection could not digest and that wait for a decision.
    gauge PROJECTION_SET_ASIDE: "fedsx_projection_set_aside_records" [PROJECTION];
    /// Entries of the log that delivery's index, the instance's own answers or the triggers have still
    /// to see.
    gauge FOLLOWER_LAG: "fedsx_follower_lag_entries" [FOLLOWER];

    /// Projections that failed and wait to be started again.
    gauge PROJECTIONS_HALTED: "fedsx_projections_halted" [];
    /// 1 where `/readyz` answers 200, else 0.
    gauge READY: "fedsx_ready" [];
    /// 1 for each reason for which `/readyz` answers 503, else 0.
    gauge NOT_READY: "fedsx_not_ready" [REASON];

    // Delivery.

    /// Attempts to deliver an activity to a peer, and what became of them.
    counter ATTEMPTS: "fedsx_delivery_attempts_total" [ATTEMPTED];
    /// Seconds that one attempt took, fetching the recipients' documents included.
    histogram (SECONDS) ATTEMPT_SECONDS: "fedsx_delivery_attempt_seconds" [];
    /// Seconds between an activity's being queued for a peer and the peer's having it.
    histogram (&[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 1800.0, 21600.0, 86400.0, 604800.0])
        DELIVERED_AFTER: "fedsx_delivery_delivered_after_seconds" [];
    /// Activities that wait for a peer, those for peers that were given up included.
    gauge QUEUED: "fedsx_delivery_queued" [];
    /// Seconds since the oldest of those was queued, peers that were given up left out.
    gauge QUEUE_AGE: "fedsx_delivery_oldest_seconds" [];
    /// Activities that were parked for one peer and wait for a decision.
    gauge DEAD_LETTERS: "fedsx_dead_letters" [];
    /// Peers that something is owed to or that failed lately, by how they are.
    gauge PEERS: "fedsx_delivery_peers" [PEER_STATE];
    /// Requests to other servers, by purpose and outcome.
    counter REQUESTS_OUT: "fedsx_client_requests_total" [PURPOSE, ANSWERED];
    /// Seconds that a request to another server took.
    histogram (SECONDS) REQUEST_OUT_SECONDS: "fedsx_client_request_seconds" [PURPOSE];

    // The process.

    /// 1, with the version of this program.
    gauge BUILD: "fedsx_build_info" [VERSION];
    /// Work for the pool of blocking threads: storage and expensive cryptography.
    gauge JOBS: "fedsx_blocking_jobs" [JOB_STATE];
    /// Bytes of memory that are resident.
    gauge MEMORY: "process_resident_memory_bytes" [];
    /// Seconds of processor time that were used.
    counter CPU_SECONDS: "process_cpu_seconds_total" [];
    /// Open files, sockets included.
    gauge OPEN_FILES: "process_open_fds" [];
    /// Files that may be open.
    gauge MAX_FILES: "process_max_fds" [];
    /// When the process started, in seconds since 1970.
    gauge STARTED: "process_start_time_seconds" [];
}

/// Values of labels, in the order in which [`Metric::labels`] has them.
pub type LabelValues<'a> = &'a [&'a str];

thread_local! {
    static COUNTERS: Handles<metrics::Counter> = Handles::new();
    static GAUGES: Handles<metrics::Gauge> = Handles::new();
    static HISTOGRAMS: Handles<metrics::Histogram> = Handles::new();
}

impl Metric {
    /// What it says, as one line.
    pub fn help(&self) -> &'static str {
        self.help.trim()
    }

    /// Adds to a counter.
    pub fn count(&self, by: u64, values: LabelValues<'_>) {
        let make = || metrics::counter!(self.name, self.labelled(values));
        COUNTERS.with(|held| held.with(self.name, values, make, |counter| counter.increment(by)));
    }

    /// Sets a counter to what is counted elsewhere.
    pub fn counted(&self, total: u64) {
        metrics::counter!(self.name).absolute(total);
    }

    /// Sets a gauge.
    pub fn set(&self, value: f64, values: LabelValues<'_>) {
        metrics::gauge!(self.name, self.labelled(values)).set(value);
    }

    /// Sets a gauge to a number of things.
    #[allow(clippy::cast_precision_loss, reason = "a gauge is a float")]
    pub fn set_count(&self, value: u64, values: LabelValues<'_>) {
        self.set(value as f64, values);
    }

    /// Raises a gauge until what is returned is dropped.
    #[must_use]
    pub fn raise(&self, values: LabelValues<'_>) -> Raised {
        let make = || metrics::gauge!(self.name, self.labelled(values));
        let gauge = GAUGES.with(|held| held.with(self.name, values, make, metrics::Gauge::clone));
        gauge.increment(1.0);
        Raised(gauge)
    }

    /// Notes a value of a distribution.
    pub fn record(&self, value: f64, values: LabelValues<'_>) {
        let make = || metrics::histogram!(self.name, self.labelled(values));
        HISTOGRAMS.with(|held| held.with(self.name, values, make, |held| held.record(value)));
    }

    fn labelled(&self, values: LabelValues<'_>) -> Vec<metrics::Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        let labels = self.labels.iter().zip(values);
        labels.map(|(label, value)| metrics::Label::new(label.name, (*value).to_owned())).collect()
    }
}

/// A gauge that falls again when this is dropped.
pub struct Raised(metrics::Gauge);

impl Drop for Raised {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Measures how long something takes.
#[derive(Clone, Copy, Debug)]
pub struct Timer(tokio::time::Instant);

impl Timer {
    /// Starts now.
    #[must_use]
    pub fn start() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// Seconds since the start.
    pub fn seconds(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let mut names: Vec<_> = ALL.iter().map(|metric| metric.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        for metric in ALL {
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
            assert!(metric.help().ends_with('.'), "{}", metric.name);
        }
    }

    #[test]
    fn series_are_few() {
        for metric in ALL {
            let known = metric.labels.iter().filter_map(|label| label.values.known());
            let series: usize = known.map(|values| values.len()).product();
            assert!(series <= 64, "{} has {series} series", metric.name);
        }
    }
}
