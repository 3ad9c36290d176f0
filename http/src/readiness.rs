//! Whether an instance is fit to serve, and why it is not: `/readyz`.
//!
//! A [`Reason`] is a stable slug, with what to do about it; `plans/observability.md` explains each.

use std::sync::atomic::Ordering;

use axum::http::StatusCode;
use fedsx_kernel::metrics as names;
use serde_json::{Value, json};

use crate::app::App;

/// By how much the clock may lie behind the time of the log's last entry, in milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 5 * 60 * 1000;

/// Why an instance is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It is not open for requests yet.
    Starting,
    /// It was told to stop.
    Draining,
    /// A write failed.
    StorePoisoned,
    /// The disk has less than the reserve.
    DiskLow,
    /// A projection failed and waits to be started again.
    ProjectionHalted,
    /// A projection does not know the end of the log.
    ProjectionBehind,
    /// Delivery's index does not know the end of the log.
    DeliveryBehind,
    /// What the instance answers by itself is not done up to the end of the log.
    ReactionsBehind,
    /// Triggers have not seen the end of the log.
    TriggersBehind,
}

impl Reason {
    /// Every reason.
    pub const ALL: &'static [Self] = &[
        Self::Starting,
        Self::Draining,
        Self::StorePoisoned,
        Self::DiskLow,
        Self::ProjectionHalted,
        Self::ProjectionBehind,
        Self::DeliveryBehind,
        Self::ReactionsBehind,
        Self::TriggersBehind,
    ];

    /// The slug.
    pub const fn slug(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Draining => "draining",
            Self::StorePoisoned => "store-poisoned",
            Self::DiskLow => "disk-low",
            Self::ProjectionHalted => "projection-halted",
            Self::ProjectionBehind => "projection-behind",
            Self::DeliveryBehind => "delivery-behind",
            Self::ReactionsBehind => "reactions-behind",
            Self::TriggersBehind => "triggers-behind",
        }
    }

    /// What to do.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Starting => "wait; after a crash or with a long log, opening it takes a while",
            Self::Draining => "send requests elsewhere, or start it again",
            Self::StorePoisoned => {
                "see the log for the write that failed, mend the disk, and restart"
            }
            Self::DiskLow => "make room on the disk; what is read is served meanwhile",
            Self::ProjectionHalted => "see the log for what failed; it is started again by itself",
            Self::ProjectionBehind => "wait; `fedsx projection list` shows how far each is",
            Self::DeliveryBehind | Self::ReactionsBehind | Self::TriggersBehind => {
                "wait; if it does not move, see the log"
            }
        }
    }
}

/// What an operator should know of an instance that is ready all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Warning {
    /// The disk has less than twice the reserve.
    DiskFilling,
    /// The clock is behind the log.
    ClockBehind,
}

impl Warning {
    /// Every warning.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 2] = [Self::DiskFilling, Self::ClockBehind];

    /// The slug.
    pub(crate) const fn slug(self) -> &'static str {
        match self {
            Self::DiskFilling => "disk-filling",
            Self::ClockBehind => "clock-behind",
        }
    }
}

/// What an instance answers that is asked whether it is ready.
pub(crate) struct Report {
    reasons: Vec<(Reason, String)>,
    warnings: Vec<(Warning, String)>,
    global_seq: u64,
}

impl Report {
    /// Looks at everything. Asks the file system and the store, so it blocks shortly.
    pub(crate) fn of(app: &App) -> Self {
        let log = app.kernel().log();
        let head = log.head();
        let (mut reasons, mut warnings) = (Vec::new(), Vec::new());
        if app.draining.load(Ordering::Relaxed) {
            reasons.push((Reason::Draining, "it was told to stop".to_owned()));
        }
        if let Some(why) = log.failure() {
            let why = format!("the store takes no more writes until a restart: {why}");
            reasons.push((Reason::StorePoisoned, why));
        }
        if let Some(space) = log.space() {
            let (free, reserve) = (space.free_bytes / 1024, space.reserve_bytes / 1024);
            let what = format!("{free} KiB are free, and {reserve} KiB are kept free");
            if space.is_short() {
                reasons.push((Reason::DiskLow, what));
            } else if space.free_bytes < space.reserve_bytes.saturating_mul(2) {
                warnings.push((Warning::DiskFilling, what));
            }
        }
        behind(app, head, &mut reasons);
        if let Some(warning) = clock(app, head) {
            warnings.push((Warning::ClockBehind, warning));
        }
        Self { reasons, warnings, global_seq: head }
    }

    /// The report of an instance that is being started.
    pub(crate) fn starting() -> Self {
        let reasons = vec![(Reason::Starting, "it is being started".to_owned())];
        Self { reasons, warnings: Vec::new(), global_seq: 0 }
    }

    pub(crate) fn status(&self) -> StatusCode {
        if self.reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
    }

    /// What is answered; what exactly is wrong is for whoever operates the instance.
    pub(crate) fn answer(&self, in_full: bool) -> Value {
        let reason = |(reason, detail): &(Reason, String)| match in_full {
            true => json!({ "reason": reason.slug(), "detail": detail, "advice": reason.advice() }),
            false => json!({ "reason": reason.slug() }),
        };
        let mut answer = json!({
            "ready": self.reasons.is_empty(),
            "reasons": self.reasons.iter().map(reason).collect::<Vec<_>>(),
            "global_seq": self.global_seq,
        });
        if in_full && let Some(answer) = answer.as_object_mut() {
            let warning = |(warning, detail): &(Warning, String)| json!({ "warning": warning.slug(), "detail": detail });
            let warnings = self.warnings.iter().map(warning).collect::<Vec<_>>();
            answer.insert("warnings".into(), warnings.into());
        }
        answer
    }
}

/// What follows the log and is not at its end. Until all of it was there once, that is exact;
/// later, what only just came in makes no instance unfit.
fn behind(app: &App, head: u64, reasons: &mut Vec<(Reason, String)>) {
    let allowed = match app.caught_up.load(Ordering::Relaxed) {
        true => app.parts.options.ready_lag,
        false => 0,
    };
    let before = reasons.len();
    let lags = |seq: u64| head.saturating_sub(seq) > allowed;
    let mut exact = true;
    for info in app.parts.projections.list() {
        exact &= info.global_seq >= head;
        if let Some(why) = info.halted {
            let what = format!("projection {} stands still: {why}", info.name);
            reasons.push((Reason::ProjectionHalted, what));
        } else if lags(info.global_seq) {
            let what = format!("projection {} is at {} of {head}", info.name, info.global_seq);
            reasons.push((Reason::ProjectionBehind, what));
        }
    }
    let followers = [
        (Reason::DeliveryBehind, "delivery is", app.parts.delivery.cursor()),
        (Reason::ReactionsBehind, "reactions are", *app.parts.readiness.reactions.borrow()),
        (Reason::TriggersBehind, "triggers are", *app.parts.readiness.triggers.borrow()),
    ];
    for (reason, who, seq) in followers {
        exact &= seq >= head;
        if lags(seq) {
            reasons.push((reason, format!("{who} at {seq} of {head}")));
        }
    }
    if exact && reasons.len() == before {
        app.caught_up.store(true, Ordering::Relaxed);
    }
}

/// A clock that was set back makes new signatures old ones, and puts what is published before what
/// was said already.
fn clock(app: &App, head: u64) -> Option<String> {
    let last = app.kernel().log().store().read(head.checked_sub(1)?, 1).ok()?.pop()?;
    let now_ms = app.kernel().runtime().clock.now_ms();
    let behind_ms = last.meta.received_ms.saturating_sub(now_ms);
    (behind_ms > CLOCK_TOLERANCE_MS).then(|| {
        format!("this machine's clock is {} s behind the log's last entry", behind_ms / 1000)
    })
}

/// Sets the metrics that say the same.
pub(crate) fn sample(app: &App) {
    let report = Report::of(app);
    names::READY.set(if report.reasons.is_empty() { 1.0 } else { 0.0 }, &[]);
    for reason in Reason::ALL {
        let holds = report.reasons.iter().any(|(held, _)| held == reason);
        names::NOT_READY.set(if holds { 1.0 } else { 0.0 }, &[reason.slug()]);
    }
    let poisoned = report.reasons.iter().any(|(reason, _)| *reason == Reason::StorePoisoned);
    names::LOG_POISONED.set(if poisoned { 1.0 } else { 0.0 }, &[]);
}
