//! A collector of traces: takes OTLP over HTTP, and reads it by the official protocol's own messages.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::timeout};

use super::gateway::PATIENCE;

/// What it does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    Takes,
    Refuses(u16),
    /// It never answers.
    Holds,
}

pub struct Collector {
    pub address: SocketAddr,
    mood: Arc<Mutex<Mood>>,
    got: watch::Sender<Got>,
    _serving: JoinSet<()>,
}

/// What has come.
#[derive(Debug, Clone, Default)]
pub struct Got {
    pub spans: Vec<Span>,
    /// What describes the service.
    pub resource: Vec<KeyValue>,
    pub fields: HeaderMap,
    pub requests: usize,
}

impl Collector {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (mood, got) = (Arc::new(Mutex::new(Mood::Takes)), watch::Sender::default());
        let (shared, log) = (Arc::clone(&mood), got.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (mood, got) = (Arc::clone(&shared), log.clone());
                let service = service_fn(move |request| {
                    let (mood, got) = (Arc::clone(&mood), got.clone());
                    async move { Ok::<_, hyper::Error>(answer(&mood, &got, request).await) }
                });
                connections.spawn(async move {
                    // How a client leaves is its own business.
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        Self { address, mood, got, _serving: serving }
    }

    /// `[telemetry]` for a gateway that tells it of `share` of its calls.
    pub fn telemetry(&self, share: f64) -> String {
        let Self { address, .. } = self;
        format!("[telemetry]\notlp_endpoint = \"http://{address}\"\notlp_sampling = {share:.2}\n")
    }

    pub fn is(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// As soon as it is as it should be.
    pub async fn until(&self, good: impl FnMut(&Got) -> bool) -> Got {
        let mut got = self.got.subscribe();
        let reached = timeout(PATIENCE, got.wait_for(good)).await;
        let Ok(reached) = reached else { panic!("{:#?}", self.got.borrow()) };
        reached.unwrap().clone()
    }

    /// All spans, once there are so many.
    pub async fn spans(&self, count: usize) -> Vec<Span> {
        self.until(|got| got.spans.len() >= count).await.spans
    }

    /// Now.
    pub fn got(&self) -> Got {
        self.got.borrow().clone()
    }
}

async fn answer(
    mood: &Mutex<Mood>,
    got: &watch::Sender<Got>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
    assert_eq!(request.headers()["content-type"], "application/x-protobuf");
    let fields = request.headers().clone();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let message = ExportTraceServiceRequest::decode(body).unwrap();
    let mood = *mood.lock().unwrap();
    got.send_modify(|got| {
        got.requests += 1;
        got.fields = fields;
        for part in message.resource_spans.iter().filter(|_| mood == Mood::Takes) {
            got.resource.clone_from(&part.resource.as_ref().unwrap().attributes);
            got.spans.extend(part.scope_spans.iter().flat_map(|scope| scope.spans.clone()));
        }
    });
    match mood {
        Mood::Takes => {
            let taken = ExportTraceServiceResponse::default().encode_to_vec();
            Response::new(Full::from(taken))
        }
        Mood::Refuses(status) => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            answer
        }
        Mood::Holds => std::future::pending().await,
    }
}

/// An attribute, as text.
pub fn said(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    let Some(AnyValue { value: Some(value) }) = &found.value else { return None };
    Some(match value {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => format!("{other:?}"),
    })
}
