//! Sends traces to a collector (OTLP over HTTP, protobuf), where one is configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use fedsx_delivery::client::{Client, ClientOptions, Request, TcpDial};
use fedsx_kernel::Base;
use fedsx_kernel::runtime::SystemClock;
use fedsx_kernel::trace::{TraceOptions, Traces};
use opentelemetry::KeyValue;
use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider,
};

use crate::config::ServeConfig;

/// How long spans are collected before they are sent.
const DELAY: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last spans to be taken.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The exporter of the process; none where traces are off.
pub(super) struct Telemetry(Option<SdkTracerProvider>);

/// Starts to export; must be called inside a tokio runtime.
pub(super) fn start(config: &ServeConfig, base: &Base) -> Result<(Traces, Telemetry)> {
    let Some(endpoint) = &config.otlp_endpoint else {
        return Ok((Traces::off(), Telemetry(None)));
    };
    let options = ClientOptions {
        // The operator names the collector, which is usually on this machine.
        allow_private_network: true,
        allow_http: true,
        user_agent: format!("fedsx/{}", env!("CARGO_PKG_VERSION")),
        ..ClientOptions::default()
    };
    let dial = Arc::new(TcpDial { allow_private_network: true });
    let way_out = WayOut {
        client: Client::new(options, dial, Arc::new(SystemClock)),
        runtime: tokio::runtime::Handle::current(),
        failing: AtomicBool::new(false),
    };
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(way_out)
        .with_endpoint(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
        .build()
        .context("otlp_endpoint")?;
    let batches = BatchConfigBuilder::default().with_scheduled_delay(DELAY).build();
    let resource = Resource::builder_empty().with_attributes([
        KeyValue::new("service.name", "fedsx"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", base.as_str().to_owned()),
    ]);
    let root = Sampler::TraceIdRatioBased(f64::from(config.trace_percent) / 100.0);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(
            BatchSpanProcessor::builder(exporter).with_batch_config(batches).build(),
        )
        .with_sampler(Sampler::ParentBased(Box::new(root)))
        .with_resource(resource.build())
        .build();
    let tracer = BoxedTracer::new(Box::new(provider.tracer("fedsx")));
    let options =
        TraceOptions { to_peers: config.trace_to_peers, from_peers: config.trace_from_peers };
    let traces = Traces::new(tracer, Box::new(TraceContextPropagator::new()), options);
    Ok((traces, Telemetry(Some(provider))))
}

impl Telemetry {
    /// Sends what is left.
    pub(super) async fn end(self) {
        let Some(provider) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST_SPANS));
        if !matches!(ended.await, Ok(Ok(()))) {
            tracing::warn!("the last spans were not taken by the collector");
        }
    }
}

/// The way to the collector: the client by which everything goes out, with connections of its own.
/// The exporter works in a thread of its own, which knows no runtime.
#[derive(Debug)]
struct WayOut {
    client: Client,
    runtime: tokio::runtime::Handle,
    /// Whether the last export failed, so that one trouble is told once.
    failing: AtomicBool,
}

#[async_trait::async_trait]
impl HttpClient for WayOut {
    async fn send_bytes(
        &self,
        request: opentelemetry_http::Request<Bytes>,
    ) -> Result<opentelemetry_http::Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request =
            Request { method: head.method, url: head.uri.to_string(), headers: head.headers, body };
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.send(request).await }).await?;
        let failed = sent.as_ref().map_or(true, |answer| !answer.status.is_success());
        if failed != self.failing.swap(failed, Ordering::Relaxed) {
            match &sent {
                Ok(answer) if failed => {
                    tracing::warn!(status = answer.status.as_u16(), "the collector refuses spans");
                }
                Err(error) => tracing::warn!(%error, "the collector takes no spans"),
                Ok(_) => tracing::info!("the collector takes spans again"),
            }
        }
        let answer = sent?;
        let mut response = opentelemetry_http::Response::new(answer.body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}
