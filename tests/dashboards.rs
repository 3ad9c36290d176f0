//! The example dashboard and the alert rules name metrics, labels and values that there are, and
//! each of their expressions is PromQL.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;

use fedsx_kernel::metrics::{ALL, Kind, Metric, Values};
use promql_parser::label::MatchOp;
use promql_parser::parser::{self, Expr, VectorSelector};
use promql_parser::util::{ExprVisitor, walk_expr};
use serde_json::Value;

/// Labels that Prometheus itself adds.
const ADDED: [&str; 3] = ["instance", "job", "le"];

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("plans/observability").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The metric of a series, for histograms by any of its three names.
fn metric_of(series: &str) -> Option<&'static Metric> {
    let of_histogram = |metric: &&Metric| {
        let suffix = series.strip_prefix(metric.name);
        matches!(metric.kind, Kind::Histogram(_))
            && suffix.is_some_and(|s| ["_bucket", "_sum", "_count"].contains(&s))
    };
    let itself =
        |metric: &&Metric| metric.name == series && !matches!(metric.kind, Kind::Histogram(_));
    ALL.iter().find(itself).or_else(|| ALL.iter().find(of_histogram))
}

struct Check<'a> {
    expression: &'a str,
    named: BTreeSet<&'static str>,
}

impl Check<'_> {
    fn selector(&mut self, selector: &VectorSelector) {
        let name = selector.name.as_deref().expect("a metric is named");
        if name == "up" {
            return;
        }
        let metric = metric_of(name)
            .unwrap_or_else(|| panic!("{name} in {:?} is no metric", self.expression));
        self.named.insert(metric.name);
        for matcher in &selector.matchers.matchers {
            if ADDED.contains(&matcher.name.as_str()) {
                continue;
            }
            let label = metric.labels.iter().find(|label| label.name == matcher.name);
            let label = label.unwrap_or_else(|| panic!("{name} has no label {}", matcher.name));
            let Some(known) = Values::known(label.values) else { continue };
            let values: Vec<_> = match matcher.op {
                MatchOp::Equal => vec![matcher.value.as_str()],
                _ => matcher.value.split('|').collect(),
            };
            for value in values {
                assert!(known.contains(&value), "{name} never has {}={value:?}", label.name);
            }
        }
    }
}

impl ExprVisitor for Check<'_> {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            _ => {}
        }
        Ok(true)
    }
}

/// Checks expressions; gives the metrics that they name.
fn check(expressions: &[String]) -> BTreeSet<&'static str> {
    let mut named = BTreeSet::new();
    for expression in expressions {
        let parsed = parser::parse(expression);
        let parsed = parsed.unwrap_or_else(|e| panic!("{expression:?} is no PromQL: {e}"));
        let mut check = Check { expression, named: BTreeSet::new() };
        let Ok(_) = walk_expr(&mut check, &parsed);
        assert!(!check.named.is_empty() || expression.starts_with("up{"), "{expression:?}");
        named.extend(check.named);
    }
    named
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let dashboard: Value = serde_json::from_str(&file("dashboard.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expressions: Vec<_> = targets
        .map(|target| target["expr"].as_str().expect("an expression"))
        // What Grafana puts in.
        .map(|expression| expression.replace("$__rate_interval", "5m"))
        .collect();
    let named = check(&expressions);
    assert!(named.len() > 30, "most of what there is: {}", named.len());
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "each panel has an id of its own");
}

#[test]
fn each_alert_is_promql_over_metrics_that_there_are() {
    let (rules, mut expressions, mut folded) = (file("alerts.yaml"), Vec::new(), None::<String>);
    for line in rules.lines() {
        let deep = line.starts_with("          ");
        if let Some(text) = &mut folded {
            if deep {
                text.push(' ');
                text.push_str(line.trim());
                continue;
            }
            expressions.extend(folded.take());
        }
        match line.trim().strip_prefix("expr: ") {
            Some(">-") => folded = Some(String::new()),
            Some(expression) => expressions.push(expression.to_owned()),
            None => {}
        }
    }
    assert_eq!(expressions.len(), rules.matches("- alert: ").count(), "one for each alert");
    assert_eq!(expressions.len(), rules.matches("action: ").count(), "and what to do");
    check(&expressions);
}
