//! Bodies, lengths and shapes of any kind pass as they are, and cost the gateway no memory.

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinSet};

use crate::support::{
    NO_LIMIT, Socket, World,
    load::{bytes, fed, sha256},
    unlimited,
};
use genesys_proxy::simulator::media_bytes;

const GIB: u64 = 1 << 30;
/// What the gateway may hold at its peak while a gibibyte passes, in a build with all checks: the
/// program itself, its buffers, and what [replay] allows.
const BOUND: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_of_a_stream_does_not_wait_for_the_second() {
    let world = World::new().await;
    // The second line would come in an hour.
    let mut answer = world.get("/api/v2/stream?chunks=2&gap_ms=3600000").await;
    assert_eq!(answer.chunk().await.unwrap().unwrap(), "{\"chunk\":0}\n");
    assert_eq!(world.genesys.counters().in_flight, 1);
    drop(answer);
    world.until(|seen| seen.in_flight == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_byte_of_an_upload_does_not_wait_for_the_second() {
    let world = World::new().await;
    let (mut upload, body) = fed();
    let caller = world.answer(world.request(Method::PUT, "/api/v2/echo").body(body));
    let (answer, ()) = tokio::join!(caller, async {
        upload.send_data(Bytes::from_static(b"one")).await.unwrap();
        world.until(|seen| seen.body_bytes >= 3).await;
        upload.send_data(Bytes::from_static(b"two")).await.unwrap();
        drop(upload);
    });
    assert_eq!(answer.json()["bodySha256"], sha256(b"onetwo"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_comes_down_in_bounded_memory() {
    let world = World::new().await;
    let mut answer = world.get(&format!("/api/v2/recordings/1/media?bytes={GIB}")).await;
    assert_eq!(answer.headers()["content-length"], GIB.to_string());
    let mut received = 0;
    while let Some(chunk) = answer.chunk().await.unwrap() {
        received += chunk.len() as u64;
    }
    assert_eq!(received, GIB);
    let peak = world.gateway.peak_resident();
    println!("1 GiB down: {} MiB resident at the peak", peak >> 20);
    assert!(peak < BOUND, "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_goes_up_in_bounded_memory() {
    let world = World::new().await;
    let piece = bytes(1, 1 << 20);
    let (mut upload, body) = fed();
    let request = world.request(Method::POST, "/uploads/v2/contactlist");
    let caller = world.answer(request.header("content-type", "text/csv").body(body));
    let (answer, ()) = tokio::join!(caller, async {
        for _ in 0..GIB >> 20 {
            upload.send_data(piece.clone()).await.unwrap();
        }
        drop(upload);
    });
    assert_eq!((answer.status, &answer.json()["bytes"]), (200, &json!(GIB)));
    let peak = world.gateway.peak_resident();
    println!("1 GiB up: {} MiB resident at the peak", peak >> 20);
    assert!(peak < BOUND, "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_does_not_read_costs_no_memory() {
    let world = World::new().await;
    let mut stuck = Vec::new();
    for _ in 0..20 {
        let get = format!(
            "GET /api/v2/recordings/1/media?bytes={GIB} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        );
        let mut socket = Socket::saying(world.gateway.address, &get).await;
        assert_eq!(socket.line().await, "HTTP/1.1 200 OK");
        stuck.push(socket);
    }
    // Others are served, and by then the stuck ones have what the sockets take.
    let mut answer = world.get(&format!("/api/v2/recordings/1/media?bytes={}", 64 << 20)).await;
    while answer.chunk().await.unwrap().is_some() {}
    let peak = world.gateway.peak_resident();
    println!("20 stuck readers: {} MiB resident at the peak", peak >> 20);
    assert!(peak < BOUND, "{peak}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_arrives_byte_for_byte_whole_and_in_parts() {
    let world = World::new().await;
    let path = "/api/v2/recordings/1/media?bytes=1000000";
    assert_eq!(world.get(path).await.bytes().await.unwrap(), media_bytes(0, 1_000_000));
    let part = world.request(Method::GET, path).header("range", "bytes=65000-130999");
    let part = part.send().await.unwrap();
    assert_eq!(part.status(), 206);
    assert_eq!(part.headers()["content-range"], "bytes 65000-130999/1000000");
    assert_eq!(part.bytes().await.unwrap(), media_bytes(65_000, 131_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_download_is_visible_as_cut() {
    let world = World::new().await;
    for path in ["/api/v2/recordings/1/media?bytes=100000", "/api/v2/stream?chunks=9&gap_ms=0"] {
        world.faults(json!({"api": [{"truncate": 50, "times": 1}]}));
        let answer = world.get(path).await;
        assert_eq!(answer.status(), 200);
        assert!(answer.bytes().await.is_err(), "{path}: it must not look whole");
        assert_eq!(world.get("/api/v2/organizations/me").await.status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_without_a_body_have_none_and_keep_their_fields() {
    let world = World::new().await;
    let path = "/api/v2/recordings/1/media?bytes=1000000";
    let head = world.request(Method::HEAD, path).send().await.unwrap();
    assert_eq!(
        (head.status(), &head.headers()["content-length"]),
        (StatusCode::OK, &"1000000".parse().unwrap())
    );
    assert!(head.bytes().await.unwrap().is_empty());
    let nothing = world.get("/api/v2/status/204").await;
    assert_eq!(nothing.status(), 204);
    assert!(!nothing.headers().contains_key("content-length"));
    let unchanged = world.get("/api/v2/status/304").await;
    assert_eq!(
        (unchanged.status(), &unchanged.headers()["etag"]),
        (StatusCode::NOT_MODIFIED, &"\"simulated\"".parse().unwrap())
    );
    assert!(unchanged.bytes().await.unwrap().is_empty());
    // All on one connection: nothing was left over on it.
    let all = "HEAD /api/v2/status/200 HTTP/1.1\r\nHost: localhost\r\n\r\n\
               GET /api/v2/status/204 HTTP/1.1\r\nHost: localhost\r\n\r\n\
               GET /api/v2/status/304 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let text = Socket::saying(world.gateway.address, all).await.rest().await;
    assert_eq!(text.matches("HTTP/1.1 ").count(), 3, "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trailers_pass_for_who_can_take_them() {
    let world = World::new().await;
    let get = "GET /api/v2/trailers HTTP/1.1\r\nHost: localhost\r\nTE: trailers\r\n\
               Connection: close, TE\r\n\r\n";
    let text = Socket::saying(world.gateway.address, get).await.rest().await;
    let digest = sha256(b"the digest comes last\n");
    assert!(text.ends_with(&format!("0\r\nx-body-sha256: {digest}\r\n\r\n")), "{text}");
    let (mut caller, _connection) = http2(&world).await;
    let request =
        http::Request::get(world.gateway.url("/api/v2/trailers")).header("te", "trailers");
    let answer = caller.send_request(request.body(Full::default()).unwrap()).await.unwrap();
    let trailers = answer.into_body().collect().await.unwrap();
    assert_eq!(trailers.trailers().unwrap()["x-body-sha256"], *digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_passed_on_and_the_token_does_not_follow_it() {
    let world = World::new().await;
    let answer = world.get("/api/v2/downloads/export-1").await;
    assert_eq!(answer.status(), 303);
    let location = answer.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(&format!("http://{}/", world.genesys.storage_addr())));
    assert_eq!(world.genesys.counters().downloads, 0, "that is the caller's to do");
    let file = world.client.get(location).send().await.unwrap();
    assert_eq!(file.text().await.unwrap(), "id,name\nexport-1,export\n");
    assert_eq!(world.genesys.counters().downloads_with_authorization, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_expects_100_continue_gets_it_and_sends_then() {
    let world = World::new().await;
    let head = "POST /api/v2/echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\
                Expect: 100-continue\r\nConnection: close\r\n\r\n";
    let mut caller = Socket::saying(world.gateway.address, head).await;
    assert_eq!(caller.head().await, ["HTTP/1.1 100 Continue"]);
    caller.write("hello").await;
    let answer = caller.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains(&sha256(b"hello")), "{answer}");
    assert!(!answer.contains("[\"expect\""), "it was between the caller and the gateway");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_carries_every_byte_both_ways() {
    let world = World::new().await;
    let head = "GET /api/v2/upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
                Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut caller = Socket::saying(world.gateway.address, head).await;
    let answer = caller.head().await;
    assert_eq!(answer[0], "HTTP/1.1 101 Switching Protocols");
    assert!(
        answer.contains(&"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned()),
        "{answer:?}"
    );
    // Not HTTP any more, though it looks like it.
    let frame = b"GET / HTTP/1.1\nContent-Length: x\r\n\r\n\x00\xff";
    for _ in 0..3 {
        caller.write(frame).await;
        assert_eq!(caller.take(frame.len()).await, frame);
    }
    caller.finish().await;
    assert_eq!(caller.rest().await, "");
    // Without an upgrade, upstream's refusal is the answer.
    assert_eq!(world.get("/api/v2/upgrade").await.status(), 426);
}

/// An HTTP/2 caller with prior knowledge.
async fn http2(
    world: &World,
) -> (hyper::client::conn::http2::SendRequest<Full<Bytes>>, JoinSet<()>) {
    let stream = TcpStream::connect(world.gateway.address).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let mut driving = JoinSet::new();
    driving.spawn(async move { connection.await.unwrap_or_default() });
    (sender, driving)
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_callers_with_prior_knowledge_are_served_many_at_once() {
    let world = World::new().await;
    let (caller, _connection) = http2(&world).await;
    let body = bytes(3, 100_000);
    let mut calls = JoinSet::new();
    for number in 0..100 {
        let (mut caller, body) = (caller.clone(), body.clone());
        let request = http::Request::post(world.gateway.url(&format!("/api/v2/echo/{number}")));
        calls.spawn(async move {
            let answer = caller.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
            assert_eq!((answer.status(), answer.version()), (StatusCode::OK, Version::HTTP_2));
            let echo = answer.into_body().collect().await.unwrap().to_bytes();
            serde_json::from_slice::<Value>(&echo).unwrap()
        });
    }
    for echo in calls.join_all().await {
        assert_eq!(echo["bodySha256"], sha256(&body));
        assert_eq!(echo["version"], "HTTP/1.1", "each hop has its own");
    }
    assert_eq!(world.genesys.counters().mints, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_caller_gets_an_answer_it_can_read() {
    let world = World::new().await;
    let get = "GET /api/v2/stream?chunks=2&gap_ms=1 HTTP/1.0\r\nHost: localhost\r\n\r\n";
    let text = Socket::saying(world.gateway.address, get).await.rest().await;
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.0 200 OK\r\n") || head.starts_with("HTTP/1.1 200 OK\r\n"),
        "{head}"
    );
    assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
    assert_eq!(body, "{\"chunk\":0}\n{\"chunk\":1}\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_go_to_the_apps_host_and_nothing_else_does() {
    let (apps, _stop) = crate::support::world::simulator(unlimited()).await;
    let (api, _stop_too) = crate::support::world::simulator(unlimited()).await;
    let gateway = crate::support::Gateway::start(&format!(
        "[upstream]\napi_url = \"http://{}\"\nlogin_url = \"http://{}\"\napps_url = \"http://{}\"\n{NO_LIMIT}",
        api.addr(),
        apps.addr(),
        apps.addr()
    ));
    let client = crate::support::world::client();
    let send = |path: &str| {
        client.post(gateway.url(path)).header("content-type", "text/csv").body("a,b").send()
    };
    assert_eq!(send("/uploads/v2/contactlist").await.unwrap().status(), 200);
    // This token is another's, so the API says 401: what matters is who was asked.
    send("/api/v2/uploads/x").await.unwrap();
    send("/uploadsx").await.unwrap();
    let targets = |records: Vec<genesys_proxy::simulator::Record>| -> Vec<String> {
        let calls = records.into_iter().filter(|record| !record.target.contains("oauth"));
        let mut targets: Vec<_> = calls.map(|record| record.target).collect();
        targets.dedup();
        targets
    };
    assert_eq!(targets(apps.snapshot().records), ["/uploads/v2/contactlist"]);
    assert_eq!(targets(api.snapshot().records), ["/api/v2/uploads/x", "/uploadsx"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_of_path_and_query_are_the_callers() {
    let world = World::new().await;
    for target in [
        "/api/v2/echo/a%2Fb//c?x=%zz",
        "/api/v2/echo/%41?",
        "/api/v2/echo/?a=b&a=c&&=&%00",
        "/api/v2/echo/;p=1,2/~'()*!$@:+",
        "/api/v2/echo/a?b=https://x/y?z%23",
    ] {
        let get = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let text = Socket::saying(world.gateway.address, &get).await.rest().await;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{target}: {text}");
        let echo: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert_eq!(echo["target"], target);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn upstream_sees_what_it_should_of_the_fields_and_nothing_else() {
    let world = World::new().await;
    let get = "GET /api/v2/echo HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer mine\r\n\
               Connection: close, X-Hop, authorization\r\nConnection: x-second-hop\r\nX-Hop: 1\r\n\
               X-Second-Hop: 2\r\nCookie: a=b\r\nProxy-Authorization: Basic eDp5\r\n\
               X-Forwarded-For: 10.0.0.1\r\nX_Forwarded_For: 10.0.0.2\r\nForwarded: for=1\r\n\
               Keep-Alive: timeout=5\r\nTE: gzip\r\nX-Custom: kept\r\nX-Custom: twice\r\n\
               Accept-Encoding: gzip\r\nUser-Agent: odd/1\r\nX-Request-Id: id-1\r\n\r\n";
    let text = Socket::saying(world.gateway.address, get).await.rest().await;
    let echo: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
    let fields: Vec<(String, String)> = serde_json::from_value(echo["headers"].clone()).unwrap();
    let mut names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    let expected = [
        "accept-encoding",
        "authorization",
        "host",
        "traceparent",
        "user-agent",
        "x-custom",
        "x-custom",
        "x-request-id",
    ];
    assert_eq!(names, expected);
    let value = |name: &str| &*fields.iter().find(|(known, _)| known == name).unwrap().1;
    assert_eq!(value("host"), world.genesys.addr().to_string());
    assert_eq!(value("authorization"), format!("Bearer <{}>", world.genesys.tokens_seen()[0]));
    assert_eq!((value("x-request-id"), value("user-agent")), ("id-1", "odd/1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_hop_and_upstreams_are_apart_in_the_answer_too() {
    let world = World::new().await;
    let headers = json!({
        "connection": "x-private, keep-alive", "x-private": "1", "keep-alive": "timeout=9",
        "x-public": "2", "proxy-authenticate": "Basic", "set-cookie": "a=b", "via": "1.1 elsewhere",
        "server-timing": "db;dur=1",
    });
    world.faults(json!({"api": [{"headers": headers}]}));
    let answer = world.answer(world.request(Method::GET, "/api/v2/organizations/me")).await;
    for name in ["x-private", "keep-alive", "proxy-authenticate", "connection"] {
        assert_eq!(answer.header(name), "", "{name}");
    }
    assert_eq!((answer.header("x-public"), answer.header("set-cookie")), ("2", "a=b"));
    let via: Vec<_> = answer.headers.get_all("via").iter().collect();
    assert_eq!(via, ["1.1 elsewhere", "1.1 genesys-proxy"]);
    assert_eq!(answer.headers.get_all("server-timing").iter().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_upstream_by_prior_knowledge_works_like_http_1() {
    let (genesys, _stop) = crate::support::world::simulator(unlimited()).await;
    let upstream = crate::support::world::upstream(genesys.addr());
    let gateway =
        crate::support::Gateway::start(&format!("{upstream}\nhttp2 = \"always\"\n{NO_LIMIT}"));
    let client = crate::support::world::client();
    let body = bytes(4, 500_000);
    let echo = client.post(gateway.url("/api/v2/echo")).body(body.clone()).send().await.unwrap();
    let echo: Value = serde_json::from_str(&echo.text().await.unwrap()).unwrap();
    assert_eq!(
        (&echo["version"], &echo["bodySha256"]),
        (&json!("HTTP/2.0"), &json!(sha256(&body)))
    );
    genesys.revoke();
    let echo = client.post(gateway.url("/api/v2/echo")).body(body.clone()).send().await.unwrap();
    assert_eq!(echo.status(), 200);
    assert_eq!(genesys.counters().mints, 2);
    let trailing = client.get(gateway.url("/api/v2/trailers")).send().await.unwrap();
    assert_eq!(trailing.text().await.unwrap(), "the digest comes last\n");
}
