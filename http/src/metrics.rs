//! Metrics: every name, with what it counts. Labels have few values by construction.

use fedsx_kernel::Problem;
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

/// Requests answered, by route pattern, method and status.
pub const REQUESTS: &str = "fedsx_http_requests_total";
/// Seconds from the head of a request to the head of its answer, by route pattern.
pub const REQUEST_SECONDS: &str = "fedsx_http_request_seconds";
/// Activities published here.
pub const PUBLISHED: &str = "fedsx_activities_published_total";
/// Deliveries taken in, by outcome (accepted, already, ignored, refused).
pub const RECEIVED: &str = "fedsx_deliveries_received_total";
/// The last position of the log.
pub const LOG_HEAD: &str = "fedsx_log_global_seq";
/// Batches that the log committed since the start.
pub const LOG_COMMITS: &str = "fedsx_log_commits_total";
/// The position of each projection.
pub const PROJECTION_SEQ: &str = "fedsx_projection_global_seq";
/// Statements that came under a number which their author had given to another one.
pub const EQUIVOCATIONS: &str = "fedsx_equivocations_total";
/// Hosted actors in memory.
pub const HOSTED: &str = "fedsx_hosted_actors_in_memory";

/// Renders what was measured.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of the process. Once per process.
    pub fn install() -> Result<Self, BuildError> {
        let handle = PrometheusBuilder::new().install_recorder()?;
        Ok(Self(handle))
    }

    /// Metrics that nothing is recorded to: for tests and simulations with several nodes.
    pub fn detached() -> Self {
        Self(PrometheusBuilder::new().build_recorder().handle())
    }

    pub(crate) fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

pub(crate) fn received(outcome: Result<&'static str, Problem>) {
    let outcome = outcome.unwrap_or("refused");
    metrics::counter!(RECEIVED, "outcome" => outcome).increment(1);
}
