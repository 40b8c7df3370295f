//! One question to an admin listener.
//! It never waits for long, and never takes an answer of any size.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, time::timeout};

use crate::{admin::status::Status, telemetry::causes::innermost};

/// The answer is on its way at once, or nobody is there.
const PATIENCE: Duration = Duration::from_secs(5);
/// Of hundreds of organisations.
const LARGEST: usize = 16 * 1024 * 1024;

/// What it said.
pub(super) struct Told {
    pub(super) status: Status,
    /// Word for word.
    pub(super) json: String,
}

/// Asks at `address`; else why there is no answer.
pub(super) async fn status(address: &str) -> Result<Told, String> {
    let late = |_| "it did not answer in time".to_owned();
    let json = timeout(PATIENCE, get(address)).await.map_err(late)??;
    let status = serde_json::from_str(&json)
        .map_err(|error| format!("its answer is no status of this version's: {error}"))?;
    Ok(Told { status, json })
}

async fn get(address: &str) -> Result<String, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let broken = |error: hyper::Error| innermost(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Under every address it is itself by this name.
    let request = Request::get("/api/status")
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    let exchange = async move {
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("it answers {status}: no admin listener of this version's"));
        }
        let body = Limited::new(answer.into_body(), LARGEST).collect().await;
        body.map_err(|error| error.to_string()).map(http_body_util::Collected::to_bytes)
    };
    // It ends with the one answer; what it ends in, the answer tells.
    let (answer, _) = tokio::join!(exchange, connection);
    String::from_utf8(answer?.into()).map_err(|_| "its answer is not text".to_owned())
}
