//! What hyper and h2 by themselves take of the corpus, and we refuse: `docs/strictness.md` names it,
//! all of it, and nothing else.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http_body_util::{BodyExt, Empty};
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{io::AsyncWriteExt, time::sleep};

use crate::{
    corpus::{HTTP1, HTTP2},
    support::{corpus::entries, raw::http2::Caller2},
};

/// How many of the requests in `bytes` a server that is nothing but hyper gets whole.
async fn taken(bytes: &[u8], version_2: bool) -> usize {
    let (mut caller, io) = tokio::io::duplex(1 << 20);
    let whole = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&whole);
    let service = service_fn(move |request: Request<Incoming>| {
        let count = Arc::clone(&count);
        async move {
            if request.into_body().collect().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, std::convert::Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    caller.write_all(bytes).await.unwrap();
    // Time is paused: it passes when there is nothing else to do.
    let idle = sleep(std::time::Duration::from_secs(1));
    if version_2 {
        let served =
            http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(io), service);
        let _ = tokio::select! { served = served => served, () = idle => Ok(()) };
    } else {
        let mut hyper = http1::Builder::new();
        hyper.half_close(true);
        let served = hyper.serve_connection(TokioIo::new(io), service).with_upgrades();
        let _ = tokio::select! { served = served => served, () = idle => Ok(()) };
    }
    whole.load(Ordering::Relaxed)
}

#[tokio::test(start_paused = true)]
async fn what_hyper_takes_and_we_refuse_is_what_the_documentation_says() {
    let mut lenient = Vec::new();
    for (version_2, files) in [(false, &HTTP1[..]), (true, &HTTP2[..])] {
        let all = files.iter().flat_map(|(file, text)| entries(file, text));
        for (number, entry) in all.enumerate() {
            // Not what is policy or too large, nor good requests before a bad one.
            let as_malformed = ["400", "505", "error 1", "421"];
            let malformed = as_malformed.iter().any(|refusal| entry.expected.starts_with(refusal));
            if !malformed || entry.name.starts_with("upgrades: ") {
                continue;
            }
            let bytes = if version_2 {
                Caller2::hello().into_iter().chain(entry.frames(number)).collect()
            } else {
                entry.bytes(number)
            };
            if taken(&bytes, version_2).await > 0 {
                let version = if version_2 { "HTTP/2" } else { "HTTP/1" };
                lenient.push(format!("| {version} | `{}` | {} |", entry.name, entry.expected));
            }
        }
    }
    let documented: Vec<&str> = include_str!("../../docs/strictness.md")
        .lines()
        .filter(|line| line.starts_with("| HTTP/") && line.contains(": "))
        .collect();
    let missing: Vec<_> =
        lenient.iter().filter(|line| !documented.contains(&line.as_str())).collect();
    assert!(missing.is_empty(), "not documented:\n{missing:#?}");
    let gone: Vec<_> =
        documented.iter().filter(|line| !lenient.iter().any(|it| it == *line)).collect();
    assert!(gone.is_empty(), "hyper refuses by now:\n{gone:#?}");
}
