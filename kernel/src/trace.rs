//! Traces of one activity through pipelines, log, projections and delivery, also across instances
//! (OpenTelemetry; W3C Trace Context).
//!
//! An activity is worked on by one task after the other, which know of each other by its CID alone.
//! So the trace that it belongs to is remembered by CID, in memory and for a while: what is delivered
//! after a restart, or much later, begins a trace of its own.
//!
//! What a trace says of an activity is its CID, never its content. Off, all of this does nothing.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use opentelemetry::Context;
use opentelemetry::KeyValue;
use opentelemetry::global::{BoxedSpan, BoxedTracer};
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, Status, TraceContextExt as _, Tracer as _,
};

pub use opentelemetry::trace::SpanKind;

use crate::cid::Cid;

/// Activities whose trace is remembered.
const REMEMBERED: u64 = 10_000;
/// For how long: by then what can be delivered soon has been.
const REMEMBERED_FOR: Duration = Duration::from_secs(3600);
/// The header field that names a trace (W3C Trace Context, section 3.2).
pub const TRACEPARENT: &str = "traceparent";
/// The longest value of that field that is looked at, in bytes.
const MAX_TRACEPARENT_BYTES: usize = 128;

/// Whether traces go on across instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceOptions {
    /// Whether deliveries tell peers which trace they belong to.
    pub to_peers: bool,
    /// Whether peers may say which trace their deliveries belong to.
    pub from_peers: bool,
}

/// The span that another one belongs under.
#[derive(Clone, Debug)]
pub struct Parent(SpanContext);

/// Where spans are made; cheap to clone.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<Inner>>);

struct Inner {
    tracer: BoxedTracer,
    propagator: Box<dyn TextMapPropagator + Send + Sync>,
    options: TraceOptions,
    remembered: Cache<Cid, Parent>,
}

impl Traces {
    /// Makes no spans.
    pub fn off() -> Self {
        Self(None)
    }

    /// Makes spans; the propagator reads and writes [`TRACEPARENT`].
    pub fn new(
        tracer: BoxedTracer,
        propagator: Box<dyn TextMapPropagator + Send + Sync>,
        options: TraceOptions,
    ) -> Self {
        let remembered =
            Cache::builder().max_capacity(REMEMBERED).time_to_live(REMEMBERED_FOR).build();
        Self(Some(Arc::new(Inner { tracer, propagator, options, remembered })))
    }

    /// Whether there are any spans.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a span, under another one or as the first of a trace. It ends when it is dropped.
    pub fn start(&self, name: &'static str, kind: SpanKind, parent: Option<&Parent>) -> Span {
        let Some(inner) = &self.0 else { return Span(None) };
        // Never the surroundings of the thread: tasks move between threads.
        let mut above = Context::new();
        if let Some(Parent(parent)) = parent {
            above = above.with_remote_span_context(parent.clone());
        }
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        let span = inner.tracer.build_with_context(builder, &above);
        Span(Some((span, inner.clone())))
    }

    /// Begins a span about an activity whose trace is known; else none.
    pub fn about(&self, cid: &Cid, name: &'static str, kind: SpanKind) -> Option<Span> {
        let parent = self.of(cid)?;
        let mut span = self.start(name, kind, Some(&parent));
        span.set("fedsx.cid", cid.to_string());
        Some(span)
    }

    /// The span under which an activity came about.
    pub fn of(&self, cid: &Cid) -> Option<Parent> {
        self.0.as_ref()?.remembered.get(cid)
    }

    /// Remembers that an activity came about under a span. The first one stays: a copy that comes
    /// later is no cause of what follows.
    pub fn remember(&self, cid: &Cid, span: &Span) {
        if let (Some(inner), Some((span, _))) = (&self.0, &span.0) {
            let parent = || Parent(span.span_context().clone());
            inner.remembered.entry(*cid).or_insert_with(parent);
        }
    }

    /// The span that a peer names in [`TRACEPARENT`], where peers may. It decides about nothing but
    /// where spans are shown.
    pub fn named(&self, traceparent: &str) -> Option<Parent> {
        let inner = self.0.as_ref().filter(|inner| inner.options.from_peers)?;
        if traceparent.len() > MAX_TRACEPARENT_BYTES {
            return None;
        }
        let fields = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
        let context = inner.propagator.extract_with_context(&Context::new(), &fields);
        let named = context.span().span_context().clone();
        named.is_valid().then_some(Parent(named))
    }
}

/// A span; ends when it is dropped.
pub struct Span(Option<(BoxedSpan, Arc<Inner>)>);

impl Span {
    /// Says something of what was done.
    pub fn set(&mut self, name: &'static str, value: impl Into<Cow<'static, str>>) {
        if let Some((span, _)) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value.into()));
        }
    }

    /// Says that it failed, by a word that stays the same.
    pub fn fail(&mut self, why: &'static str) {
        if let Some((span, _)) = &mut self.0 {
            span.set_status(Status::error(why));
        }
    }

    /// What a delivery says in [`TRACEPARENT`], where peers are told.
    pub fn traceparent(&self) -> Option<String> {
        let (span, inner) = self.0.as_ref().filter(|(_, inner)| inner.options.to_peers)?;
        let context = Context::new().with_remote_span_context(span.span_context().clone());
        let mut fields = HashMap::new();
        inner.propagator.inject_context(&context, &mut fields);
        fields.remove(TRACEPARENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_nothing_is_made_or_remembered() {
        let (traces, cid) = (Traces::off(), Cid::of_block(b"x"));
        let span = traces.start("publish", SpanKind::Internal, None);
        traces.remember(&cid, &span);
        assert!(!traces.is_on() && span.traceparent().is_none());
        assert!(traces.of(&cid).is_none() && traces.about(&cid, "x", SpanKind::Client).is_none());
        let named = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert!(traces.named(named).is_none());
    }
}
