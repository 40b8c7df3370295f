//! Sends spans to a collector, by OTLP over HTTP.
//! It never keeps what a collector does not take: it counts that, and says so now and then.

use std::{pin::pin, sync::Arc, time::Duration};

use opentelemetry::{InstrumentationScope, Key, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{Resource, error::OTelSdkResult, trace::SpanExporter as _};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Call, Traces, spans::spans};
use crate::telemetry::seldom::Seldom;

/// Between two looks into the queue.
const EVERY: Duration = Duration::from_secs(1);
/// Calls sent at once.
const BATCH: usize = 512;
/// What a collector may take for a batch, tries included (OTLP's own default).
const PATIENCE: Duration = Duration::from_secs(10);
/// What the last batches may take together, once the gateway has ended.
const LAST: Duration = Duration::from_millis(1500);
/// Of a collector's excuse.
const LONGEST_REASON: usize = 300;

/// The exporter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Unbuildable {
    /// The HTTP client's own reason.
    #[error("cannot prepare requests to the collector: {0}")]
    Http(#[from] reqwest::Error),
    /// An `OTEL_…` variable is wrong.
    #[error("cannot export traces: {0}")]
    Otlp(#[from] opentelemetry_otlp::ExporterBuildError),
}

/// What fetches the calls that have ended.
#[derive(Debug)]
pub struct Exporter {
    traces: Arc<Traces>,
    otlp: SpanExporter,
    scope: InstrumentationScope,
    /// For people.
    endpoint: Url,
    said: Seldom,
}

impl Exporter {
    /// To `endpoint`, to which `/v1/traces` is added (OTLP/HTTP, "Binary Protobuf Encoding").
    /// `OTEL_EXPORTER_OTLP_HEADERS` and the other variables of the exporter's specification count, but
    /// for those of the endpoint; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` do, too.
    ///
    /// # Errors
    /// When a variable says what cannot be done.
    pub fn new(
        endpoint: &Url,
        tls: rustls::ClientConfig,
        traces: Arc<Traces>,
    ) -> Result<Self, Unbuildable> {
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .user_agent(concat!("genesys-proxy/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .pool_max_idle_per_host(1)
            .build()?;
        let mut otlp = SpanExporter::builder()
            .with_http()
            .with_http_client(http)
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .with_timeout(PATIENCE)
            .build()?;
        let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let mut resource = Resource::builder().with_attribute(version);
        if !is_named(&Resource::builder().build()) {
            resource = resource.with_service_name("genesys-proxy");
        }
        otlp.set_resource(&resource.build());
        let scope = InstrumentationScope::builder("genesys-proxy")
            .with_version(env!("CARGO_PKG_VERSION"))
            .build();
        Ok(Self { traces, otlp, scope, endpoint: endpoint.clone(), said: Seldom::new() })
    }

    /// Until the gateway ends, and then for as long as the last batches may take.
    pub async fn run(self, stop: CancellationToken) {
        let last = pin!(async {
            stop.cancelled().await;
            sleep(LAST).await;
        });
        tokio::select! {
            () = self.export_all(&stop) => {}
            () = last => {
                tracing::warn!(endpoint = %self.endpoint, "the last traces were not delivered in time");
            }
        }
    }

    async fn export_all(&self, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = sleep(EVERY) => {}
                () = self.traces.half_full.notified() => {}
                () = stop.cancelled() => {
                    self.export(self.traces.close()).await;
                    return;
                }
            }
            self.export(self.traces.fetch()).await;
        }
    }

    async fn export(&self, calls: Vec<Call>) {
        let mut calls = calls.into_iter();
        loop {
            let batch: Vec<_> = calls.by_ref().take(BATCH).collect();
            if batch.is_empty() {
                return;
            }
            // Lost unless it is delivered, however this ends.
            let lost = Lost { traces: &self.traces, calls: batch.len() };
            let spans = batch.into_iter().flat_map(|call| spans(call, &self.scope)).collect();
            match timeout(PATIENCE, self.otlp.export(spans)).await {
                Ok(Ok(())) => lost.delivered(),
                Ok(Err(error)) => self.refused(lost.calls, &Err(error)),
                Err(_) => self.refused(lost.calls, &Ok(())),
            }
        }
    }

    /// `Ok`: there was no answer.
    fn refused(&self, calls: usize, why: &OTelSdkResult) {
        let Some(left_out) = self.said.say(Instant::now()) else { return };
        let why = match why {
            Ok(()) => format!("no answer within {PATIENCE:?}"),
            Err(error) => error.to_string().chars().take(LONGEST_REASON).collect(),
        };
        tracing::warn!(
            endpoint = %self.endpoint,
            calls,
            left_out,
            why,
            "traces were not delivered and are lost: is an OTLP/HTTP collector at telemetry.otlp_endpoint?"
        );
    }
}

/// A variable says what this service is called.
fn is_named(resource: &Resource) -> bool {
    let name = resource.get(&Key::from_static_str("service.name"));
    name.is_some_and(|name| !name.as_str().starts_with("unknown_service"))
}

/// Calls on their way.
struct Lost<'a> {
    traces: &'a Traces,
    calls: usize,
}

impl Lost<'_> {
    fn delivered(mut self) {
        self.traces.metrics.traces_delivered(self.calls);
        self.calls = 0;
    }
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.traces.metrics.traces_lost(self.calls);
    }
}
