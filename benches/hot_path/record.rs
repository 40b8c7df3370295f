//! What it costs to count a request, beside making its record and dropping it.

use std::sync::Arc;

use divan::Bencher;
use genesys_proxy::{
    config::LogFormat,
    decide::callers::Principal,
    telemetry::{
        access_log::{AccessLog, End, Observers, Record},
        callers::Names,
        metrics::{Metrics, Tally},
    },
};
use http::{HeaderValue, Method, StatusCode, Uri};

fn ended(bencher: Bencher<'_, '_>, tally: Option<Arc<Tally>>) {
    let log = AccessLog::new(
        LogFormat::Text,
        None,
        Names::default(),
        (None, None),
        Observers { tally, ..Observers::default() },
    );
    let uri = Uri::from_static("/api/v2/users/9b1f1a3c-0d3e-4f5a-8b7c-1d2e3f4a5b6c?expand=station");
    bencher.bench_local(|| {
        let id = HeaderValue::from_static("id");
        let mut record = Record::begin(&log, Principal::Unknown, Method::GET, uri.clone(), id);
        (record.status, record.attempts) = (Some(StatusCode::OK), 1);
        record.end = End::Complete;
    });
}

#[divan::bench]
fn counted(bencher: Bencher<'_, '_>) {
    let metrics = Metrics::default();
    ended(bencher, Some(metrics.worker(&Names::default(), std::iter::empty())));
}

#[divan::bench]
fn not_counted(bencher: Bencher<'_, '_>) {
    ended(bencher, None);
}
