//! Bodies and shapes: large, ranged, slow, trailed, uploaded, redirected, upgraded; HTTP/2.

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;
use crate::simulator::{media_bytes, random::sha256};

#[tokio::test]
async fn a_recording_is_the_same_bytes_whole_and_in_parts() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let target = "/api/v2/recordings/7/media?bytes=1000000";
    let whole = genesys.get(target, &token).await;
    assert_eq!(whole.headers()["content-length"], "1000000");
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    let whole = whole.bytes().await.unwrap();
    assert_eq!(whole, media_bytes(0, 1_000_000));

    let ranged = async |method: Method, range: &str| {
        let request = genesys.request(method, target).bearer_auth(&token);
        request.header("range", range).send().await.unwrap()
    };
    let part = ranged(Method::GET, "bytes=65000-130999").await;
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 65000-130999/1000000");
    assert_eq!(part.bytes().await.unwrap(), whole[65_000..131_000]);
    let head = ranged(Method::HEAD, "bytes=-10").await;
    assert_eq!(
        (head.status().as_u16(), &head.headers()["content-length"]),
        (206, &"10".parse().unwrap())
    );
    let beyond = ranged(Method::GET, "bytes=1000000-").await;
    assert_eq!(beyond.status(), 416);
    assert_eq!(beyond.headers()["content-range"], "bytes */1000000");
}

#[tokio::test]
async fn an_upload_is_answered_with_its_digest_and_a_json_body_has_a_limit() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let large = media_bytes(0, 600_000);
    let upload = genesys.request(Method::POST, "/uploads/v2/contactlist").bearer_auth(&token);
    let upload = upload.header("content-type", "multipart/form-data; boundary=x");
    let answer: Value = upload.body(large.clone()).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["bytes"], &answer["sha256"]), (&json!(600_000), &json!(sha256(&large))));
    let target = "/api/v2/analytics/conversations/details/query";
    let refused = genesys.request(Method::POST, target).bearer_auth(&token).body(large);
    let refused = problem(refused.send().await.unwrap()).await;
    assert_eq!(refused, (413, "request.entity.too.large".to_owned()));
    assert_eq!(genesys.handle.counters().body_bytes, 1_200_029);
    let bare = genesys.request(Method::POST, "/uploads/v2/scripter").body("x");
    assert_eq!(bare.send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_download_is_elsewhere_and_an_authorization_there_is_noticed() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let answer = genesys.get("/api/v2/downloads/export-1", &token).await;
    assert_eq!(answer.status(), 303);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&format!("http://{}/", genesys.handle.storage_addr())));
    let file = genesys.http.get(&location).send().await.unwrap();
    assert_eq!(file.text().await.unwrap(), "id,name\nexport-1,export\n");
    assert_eq!(genesys.handle.counters().downloads_with_authorization, 0);
    let leaked = genesys.http.get(&location).bearer_auth("oops").send().await.unwrap();
    assert_eq!(leaked.status(), 200);
    let forged = location.replace("export-1", "export-2");
    assert_eq!(genesys.http.get(forged).send().await.unwrap().status(), 403);
    let counters = genesys.handle.counters();
    assert_eq!((counters.downloads, counters.downloads_with_authorization), (3, 1));
    let url = genesys.json("/api/v2/downloads/export-1?issueRedirect=false", &token).await;
    assert_eq!(url["url"], location.as_str());
}

#[tokio::test]
async fn a_stream_comes_in_chunks_without_a_length() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let answer = genesys.get("/api/v2/stream?chunks=3&gap_ms=1", &token).await;
    assert_eq!(answer.headers()["transfer-encoding"], "chunked");
    let text = answer.text().await.unwrap();
    assert_eq!(text, "{\"chunk\":0}\n{\"chunk\":1}\n{\"chunk\":2}\n");
}

#[tokio::test]
async fn statuses_without_a_body_have_none() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    for code in [204, 304] {
        let answer = genesys.get(&format!("/api/v2/status/{code}"), &token).await;
        assert_eq!(answer.status(), code);
        assert!(answer.bytes().await.unwrap().is_empty());
    }
    let moved = genesys.get("/api/v2/status/301", &token).await;
    assert_eq!(moved.headers()["location"], "/api/v2/status/200");
}

/// Sends a request head as it is and returns the connection.
async fn raw(genesys: &Genesys, head: String) -> TcpStream {
    let mut stream = TcpStream::connect(genesys.handle.addr()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn trailers_come_after_the_body_for_who_wants_them() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let head = format!(
        "GET /api/v2/trailers HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\
         TE: trailers\r\nConnection: close, TE\r\n\r\n"
    );
    let mut text = String::new();
    raw(&genesys, head).await.read_to_string(&mut text).await.unwrap();
    let expected = format!("0\r\nx-body-sha256: {}\r\n\r\n", sha256(b"the digest comes last\n"));
    assert!(text.ends_with(&expected), "{text}");
}

#[tokio::test]
async fn an_upgraded_connection_returns_every_byte_and_half_closes() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let head = format!(
        "GET /api/v2/upgrade HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer {token}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\nearly bytes,"
    );
    let mut stream = raw(&genesys, head).await;
    stream.write_all(b" late bytes").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (answer, echoed) = text.split_once("\r\n\r\n").unwrap();
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
    assert_eq!(echoed, "early bytes, late bytes");
    assert_eq!(genesys.get("/api/v2/upgrade", &token).await.status(), 426);
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_spoken_and_has_trailers() {
    let genesys = Genesys::start().await;
    let token = genesys.token().await;
    let stream = TcpStream::connect(genesys.handle.addr()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let request = Request::get(genesys.url("/api/v2/trailers"))
        .header("authorization", format!("Bearer {token}"))
        .body(Empty::<bytes::Bytes>::new())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.version(), http::Version::HTTP_2);
    let body = answer.into_body().collect().await.unwrap();
    assert!(body.trailers().unwrap().contains_key("x-body-sha256"));
    assert_eq!(genesys.state().await.records.last().unwrap().version, "HTTP/2.0");
}
