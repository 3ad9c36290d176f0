//! What `/metrics` answers: what was recorded, and what is only looked up when somebody asks.
//! Names and labels stand in [`fedsx_kernel::metrics`].

use std::time::Duration;

use fedsx_kernel::Problem;
use fedsx_kernel::metrics::{self as names, Kind, Metric};
use fedsx_kernel::refusal::Refusal;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use crate::app::App;
use crate::{process, readiness};

/// How often samples are put into their buckets. Until then each of them takes memory.
const UPKEEP: Duration = Duration::from_secs(5);
/// The value of the label of projections that stands for all published ones.
const PUBLISHED: &str = "published";

/// Renders what was measured.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Installs the recorder of the process. Once per process.
    ///
    /// # Errors
    /// Where the process has a recorder already.
    pub fn install() -> Result<Self, BuildError> {
        let metrics = Self(builder()?.install_recorder()?);
        names::recorder_installed();
        names::ALL.iter().for_each(introduce);
        Ok(metrics)
    }

    /// Metrics that nothing is recorded to: for tests and simulations with several nodes.
    pub fn detached() -> Self {
        Self(PrometheusBuilder::new().build_recorder().handle())
    }

    /// Keeps the memory small that samples take, for as long as it is polled. Whoever installs the
    /// recorder has this run beside the node: nobody need ever ask for `/metrics`.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP).await;
            self.0.run_upkeep();
        }
    }

    fn render(&self) -> String {
        self.0.run_upkeep();
        self.0.render()
    }
}

fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder)
}

/// Describes a metric, and makes its series appear that can be told beforehand: a counter that is
/// not there before it first counts hides that first time from every rate.
fn introduce(metric: &Metric) {
    let (name, help) = (metric.name, metric.help());
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(name, help),
        Kind::Gauge => metrics::describe_gauge!(name, help),
        Kind::Histogram(_) => metrics::describe_histogram!(name, help),
    }
    let known = metric.labels.iter().map(|label| label.values.known());
    let Some(known) = known.collect::<Option<Vec<_>>>() else { return };
    let none = vec![Vec::new()];
    let combined = known.into_iter().fold(none, |rows: Vec<Vec<&str>>, values| {
        let longer = |row: Vec<&'static str>| {
            values.iter().map(move |value| [row.as_slice(), &[*value]].concat()).collect::<Vec<_>>()
        };
        rows.into_iter().flat_map(longer).collect()
    });
    for values in combined {
        let labels = metric.labels.iter().zip(values);
        let labels: Vec<_> =
            labels.map(|(label, value)| metrics::Label::new(label.name, value)).collect();
        match metric.kind {
            Kind::Counter => metrics::counter!(name, labels).absolute(0),
            Kind::Gauge => metrics::gauge!(name, labels).set(0.0),
            Kind::Histogram(_) => drop(metrics::histogram!(name, labels)),
        }
    }
}

/// Counts a delivery by what became of it.
pub(crate) fn received(outcome: Result<&'static str, Problem>) {
    match outcome {
        Ok(outcome) => names::RECEIVED.count(1, &[outcome]),
        Err(problem) => {
            names::RECEIVED.count(1, &["refused"]);
            names::REFUSED.count(1, &[problem.slug()]);
        }
    }
}

/// The name under which a method is counted; a client may make up its own.
pub(crate) fn method(method: &axum::http::Method) -> &'static str {
    names::METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Looks up what is not recorded as it happens, and renders everything.
pub(crate) async fn page(app: &App) -> Result<String, Refusal> {
    let internal = |e: &dyn std::fmt::Display| Refusal::new(Problem::Internal, e.to_string());
    let equivocations = app
        .read(|app| {
            log(app);
            process::sample();
            Ok(fedsx_genesis::fold::equivocation_count(app.kernel().log().state())?)
        })
        .await?;
    names::EQUIVOCATIONS.counted(equivocations);
    let free = app.body_memory.available_permits();
    let held = app.parts.options.body_memory_bytes.saturating_sub(free);
    names::BODY_BYTES.set_count(held as u64, &[]);
    projections(app);
    let census = app.parts.delivery.census().await.map_err(|e| internal(&e))?;
    names::QUEUED.set_count(census.queued, &[]);
    let now_ms = app.kernel().runtime().clock.now_ms();
    let age_ms = census.oldest_ms.map_or(0, |oldest_ms| now_ms.saturating_sub(oldest_ms));
    let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
    names::QUEUE_AGE.set(age.as_secs_f64(), &[]);
    names::DEAD_LETTERS.set_count(census.letters, &[]);
    names::PEERS.set_count(census.well, &["well"]);
    names::PEERS.set_count(census.backing_off, &["backing-off"]);
    names::PEERS.set_count(census.given_up, &["given-up"]);
    readiness::sample(app);
    Ok(app.parts.metrics.render())
}

fn log(app: &App) {
    let log = app.kernel().log();
    names::LOG_HEAD.set_count(log.head(), &[]);
    names::LOG_WAITING.set_count(log.waiting() as u64, &[]);
    names::COMMITS.counted(log.commits());
    names::HOSTED.set_count(app.kernel().hosted_in_memory() as u64, &[]);
    if let Some(space) = log.space() {
        names::DISK_FREE.set_count(space.free_bytes, &[]);
        names::DISK_RESERVE.set_count(space.reserve_bytes, &[]);
    }
}

/// Published projections share one value of the label: what somebody defines names no series.
fn projections(app: &App) {
    let head = app.kernel().log().head();
    let mut published: Option<(u64, u64)> = None;
    let list = app.parts.projections.list();
    names::PROJECTIONS_HALTED
        .set_count(list.iter().filter(|info| info.halted.is_some()).count() as u64, &[]);
    for info in list {
        if info.definition.is_some() {
            let (seq, aside) = published.unwrap_or((u64::MAX, 0));
            published = Some((seq.min(info.global_seq), aside.saturating_add(info.set_aside)));
            continue;
        }
        projection(&info.name, head, info.global_seq, info.set_aside);
    }
    let (seq, aside) = published.unwrap_or((head, 0));
    projection(PUBLISHED, head, seq, aside);
    let seen = [
        ("delivery", app.parts.delivery.cursor()),
        ("reactions", *app.parts.readiness.reactions.borrow()),
        ("triggers", *app.parts.readiness.triggers.borrow()),
    ];
    for (follower, seq) in seen {
        names::FOLLOWER_LAG.set_count(head.saturating_sub(seq), &[follower]);
    }
}

fn projection(name: &str, head: u64, seq: u64, set_aside: u64) {
    names::PROJECTION_SEQ.set_count(seq, &[name]);
    names::PROJECTION_LAG.set_count(head.saturating_sub(seq), &[name]);
    names::PROJECTION_SET_ASIDE.set_count(set_aside, &[name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_client_names_a_method() {
        assert_eq!(method(&axum::http::Method::GET), "GET");
        assert_eq!(method(&axum::http::Method::from_bytes(b"BREW").unwrap_or_default()), "other");
    }

    #[test]
    fn each_reason_and_each_warning_is_explained() {
        let page = include_str!("../../plans/observability.md");
        for reason in readiness::Reason::ALL {
            assert!(page.contains(&format!("| `{}` |", reason.slug())), "{}", reason.slug());
        }
        let (_, warnings) = page.split_once("\nWarnings: ").unwrap_or_default();
        let (warnings, _) = warnings.split_once("\n\n").unwrap_or_default();
        for warning in readiness::Warning::ALL {
            assert!(warnings.contains(&format!("`{}` (", warning.slug())), "{}", warning.slug());
        }
    }

    #[test]
    fn reasons_are_listed_among_the_labels() {
        let labels = names::NOT_READY.labels.iter().map(|label| label.values);
        let listed = labels.filter_map(names::Values::known).flatten();
        let slugs = readiness::Reason::ALL.iter().map(|reason| reason.slug());
        assert_eq!(listed.collect::<Vec<_>>(), slugs.collect::<Vec<_>>());
    }
}
