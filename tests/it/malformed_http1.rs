//! What is malformed or has two meanings in HTTP/1.1 is refused, and upstream never sees it
//! (threats T1 to T8, T11, T13; traps 1, 2, 21, 22).

use std::sync::Mutex;

use crate::support::raw::{Caller, Line, Record, Stage, ok};

/// What must come of a caller's bytes.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// One of these answers and a close; upstream sees no whole request.
    Refused(&'static [u16]),
    /// Answered by the gateway, upstream sees nothing; the connection may go on.
    Denied(&'static [u16]),
    /// Upstream sees exactly this many well-formed requests, all answered.
    Passes(usize),
}
use Fate::{Denied, Passes, Refused};

const BAD: Fate = Refused(&[400, 505]);

/// `H` stands for a good Host line, `@` for the case's own path, `!` for the path that must never
/// get through.
fn bytes(case: usize, text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for byte in text.bytes() {
        match byte {
            b'@' => bytes.extend(format!("/case/{case}").bytes()),
            b'!' => bytes.extend(format!("/smuggled/{case}").bytes()),
            0x11 => bytes.extend(b"Host: localhost\r\n"),
            // The one byte that is no UTF-8 of its own.
            0x12 => bytes.push(0xff),
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// What a smuggler hides behind a message.
const HIDDEN: &str = "GET ! HTTP/1.1\r\n\x11\r\n";

fn post(fields: &str, body: &str) -> String {
    format!("POST @ HTTP/1.1\r\n\x11{fields}\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn get(line: &str) -> String {
    format!("{line}\r\n\x11\r\n")
}

fn fields(fields: &str) -> String {
    format!("GET @ HTTP/1.1\r\n\x11{fields}\r\n")
}

/// Two lengths, or a length that reads in two ways.
#[expect(clippy::too_many_lines, reason = "a table")]
fn lengths() -> Vec<(String, Fate)> {
    let mut cases = Vec::new();
    let zero = format!("0\r\n\r\n{HIDDEN}");
    for codings in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n",
        "content-length: 5\r\nTRANSFER-ENCODING: Chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\tchunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked \r\n",
        "Content-Length: 5\r\nTransfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n",
        "Content-Length: 5\r\n Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nX: y\r\n Transfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\x0bchunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\x0cchunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: \x00chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: xchunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: 'chunked'\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: \"chunked\"\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked;q=1\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: \r\n chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding:\r\n\tchunked\r\n",
        "Content-Length: 5\r\nX: y\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nX: y\rTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    ] {
        cases.push((post(codings, &zero), BAD));
    }
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked,",
        ", chunked",
        "identity, chunked",
        "chunked, identity",
        "identity",
        "gzip",
        "",
        "chunk",
        "cow",
        "chunked\x0b",
        "chunked\x0c",
        "chunked\x7f",
        "chunked\x12",
    ] {
        cases.push((post(&format!("Transfer-Encoding: {coding}\r\n"), &zero), BAD));
    }
    for twice in [
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
    ] {
        cases.push((post(twice, &zero), BAD));
    }
    for length in [
        "5\r\nContent-Length: 5",
        "5\r\nContent-Length: 6",
        "0\r\nContent-Length: 5",
        "5, 5",
        "5,6",
        "5 5",
        "+5",
        "-5",
        "-0",
        "0x5",
        "5.0",
        "5e0",
        "five",
        "",
        "\x0b5",
        "5\x0c",
        "\"5\"",
        "5;",
        "18446744073709551616",
        "99999999999999999999999999",
        "\x1205",
    ] {
        cases
            .push((post(&format!("Content-Length: {length}\r\n"), &format!("hello{HIDDEN}")), BAD));
    }
    for name in ["Content-Length ", "Content-Length\t", " Content-Length", "Content Length"] {
        cases.push((post(&format!("{name}: 5\r\n"), &format!("hello{HIDDEN}")), BAD));
    }
    // HTTP/1.0 knows no chunks.
    for fields in
        ["Transfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"]
    {
        cases.push((format!("POST @ HTTP/1.0\r\n\x11{fields}\r\n{zero}"), BAD));
    }
    // One meaning each.
    cases.push((post("Content-Length: 5\r\n", "hello"), Passes(1)));
    cases.push((post("Content-Length:5\r\n", "hello"), Passes(1)));
    cases.push((post("Content-Length: \t 005 \t\r\n", "hello"), Passes(1)));
    cases.push((post("CONTENT-LENGTH: 0\r\n", ""), Passes(1)));
    cases.push((post("Content_Length: 9\r\nContent-Length: 5\r\n", "hello"), Passes(1)));
    cases.push((post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"), Passes(1)));
    cases.push((format!("{}{}", post("Content-Length: 5\r\n", "hello"), fields("")), Passes(2)));
    cases
        .push((format!("{}\r\n{}", post("Content-Length: 5\r\n", "hello"), fields("")), Passes(2)));
    cases.push((format!("{}{}", chunked("5\r\nhello\r\n0\r\n\r\n"), fields("")), Passes(2)));
    cases.push((
        format!(
            "GET @ HTTP/1.1\r\n\x11Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n{}",
            fields("")
        ),
        Passes(2),
    ));
    cases.push((
        format!("GET @ HTTP/1.1\r\n\x11Content-Length: 5\r\n\r\nhello{}", fields("")),
        Passes(2),
    ));
    // More than its length is the next message, and that is none.
    cases.push((post("Content-Length: 5\r\n", "helloX"), Refused(&[200, 400, 408])));
    cases
}

/// Chunks that two parsers could cut in two ways.
fn chunks() -> Vec<(String, Fate)> {
    // The head was fine, so upstream may have been called: what it must not see is an end.
    const CUT: Fate = Refused(&[400, 408, 431]);
    let mut cases = Vec::new();
    for body in [
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloworld\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t\r\nhello\r\n0\r\n\r\n",
        "5 ;a\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "g\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5\r\n\r\nhello\r\n0\r\n\r\n",
        "5;\n\r\nhello\r\n0\r\n\r\n",
        // TERM.EXT and its kin: an extension that one parser ends at the LF.
        "0;\nxx\r\n4\r\n1\r\n0\r\n\r\n",
        "2;\nxx\r\n32\r\nab\r\n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "7fffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "0 \r\n\r\n",
        // Trailers that are no field lines.
        "0\r\n x: y\r\n\r\n",
        "0\r\nx\r\n\r\n",
        "0\r\nx : y\r\n\r\n",
        "0\r\n: y\r\n\r\n",
        "0\r\nx: y\n\r\n",
        "0\r\nx: \x00\r\n\r\n",
        "0\r\nx: y\r\n z\r\n\r\n",
        "0\r\nGET ! HTTP/1.1\r\n\r\n",
    ] {
        cases.push((chunked(&format!("{body}{HIDDEN}")), CUT));
        if !body.contains("\r\n\r\n") || body.starts_with('5') {
            cases.push((chunked(&format!("3\r\nabc\r\n{body}{HIDDEN}")), CUT));
        }
    }
    // The end never comes.
    for body in [
        "5\r\nhello\r\n0\r\n",
        "5\r\nhello\r\n0",
        "5\r\nhello\r\n",
        "5\r\nhel",
        "5",
        "",
        "0\r\nx: y\r\n",
    ] {
        cases.push((chunked(body), CUT));
    }
    cases.push((post("Content-Length: 6\r\n", "hello"), CUT));
    cases.push((chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(300))), CUT));
    cases.push((chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", "x: y\r\n".repeat(101))), CUT));
    cases.push((chunked(&format!("0\r\nx: {}\r\n\r\n", "y".repeat(70_000))), CUT));
    // One meaning each.
    for body in [
        "5\r\nhello\r\n0\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "5;a\r\nhello\r\n0;b=c\r\n\r\n",
        "5;a=\"b;c\"\r\nhello\r\n0\r\n\r\n",
        "A\r\nhellohello\r\n0\r\n\r\n",
        "a\r\nhellohello\r\n0\r\n\r\n",
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n",
        "0\r\nAuthorization: Bearer stolen\r\nHost: evil.example\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        cases.push((chunked(body), Passes(1)));
        cases.push((format!("{}{}", chunked(body), fields("")), Passes(2)));
    }
    cases
}

/// Bytes that no head may hold.
fn unclean() -> Vec<(String, Fate)> {
    let mut cases = Vec::new();
    for head in [
        "GET @ HTTP/1.1\n\x11\r\n",
        "GET @ HTTP/1.1\r\n\x11\n",
        "GET @ HTTP/1.1\nHost: localhost\n\n",
        "GET @ HTTP/1.1\r\n\x11X: y\n\r\n",
        "GET @ HTTP/1.1\r\n\x11\nX: y\r\n\r\n",
        "GET @ HTTP/1.1\r\r\n\x11\r\n",
        "GET @ HTTP/1.1\r\n\x11X: y\r\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: y\rZ: w\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11\r\r\n\r\n",
        "\nGET @ HTTP/1.1\r\n\x11\r\n",
        "\rGET @ HTTP/1.1\r\n\x11\r\n",
        "\x00GET @ HTTP/1.1\r\n\x11\r\n",
        " GET @ HTTP/1.1\r\n\x11\r\n",
        "GET @ HTTP/1.1\r\n \x11\r\n",
        "GET @ HTTP/1.1\r\n\x11X: y\r\n folded\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: y\r\n\tfolded\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: y\r\n \r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11 \r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X : y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\t: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X y: z\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\x00: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\x0b: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X(y): z\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11\"X\": z\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\x12: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X\u{00e9}: y\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X/y: z\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X@y: z\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x00b\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x01b\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x08b\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x0bb\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x1bb\r\n\r\n",
        "GET @ HTTP/1.1\r\n\x11X: a\x7fb\r\n\r\n",
        // Request lines.
        "GET @\x00 HTTP/1.1\r\n\x11\r\n",
        "GET @\x0b HTTP/1.1\r\n\x11\r\n",
        "GET @\x7f HTTP/1.1\r\n\x11\r\n",
        "GET @\tHTTP/1.1\r\n\x11\r\n",
        "GET\t@ HTTP/1.1\r\n\x11\r\n",
        "GET  @ HTTP/1.1\r\n\x11\r\n",
        "GET @  HTTP/1.1\r\n\x11\r\n",
        "GET @ HTTP/1.1 \r\n\x11\r\n",
        "GET @ HTTP/1.1 x\r\n\x11\r\n",
        "GET @ x HTTP/1.1\r\n\x11\r\n",
        "GET @#fragment HTTP/1.1\r\n\x11\r\n",
        "GET @?a#b HTTP/1.1\r\n\x11\r\n",
        "GET # HTTP/1.1\r\n\x11\r\n",
        "GET  HTTP/1.1\r\n\x11\r\n",
        "GET HTTP/1.1\r\n\x11\r\n",
        "GET\r\n\x11\r\n",
        " @ HTTP/1.1\r\n\x11\r\n",
        "G(T @ HTTP/1.1\r\n\x11\r\n",
        "GE\x00T @ HTTP/1.1\r\n\x11\r\n",
        "G\x12T @ HTTP/1.1\r\n\x11\r\n",
        "GET/ @ HTTP/1.1\r\n\x11\r\n",
        "{\"a\":1} @ HTTP/1.1\r\n\x11\r\n",
        // Versions.
        "GET @\r\n\r\n",
        "GET @ HTTP/0.9\r\n\x11\r\n",
        "GET @ HTTP/1.2\r\n\x11\r\n",
        "GET @\x12 HTTP/1.1\r\n\x11\r\n",
        "GET @ HTTP/2.0\r\n\x11\r\n",
        "GET @ HTTP/2\r\n\x11\r\n",
        "GET @ HTTP/3.0\r\n\x11\r\n",
        "GET @ HTTP/1.10\r\n\x11\r\n",
        "GET @ HTTP/01.1\r\n\x11\r\n",
        "GET @ HTTP/1.\r\n\x11\r\n",
        "GET @ HTTP/11\r\n\x11\r\n",
        "GET @ http/1.1\r\n\x11\r\n",
        "GET @ HTTPS/1.1\r\n\x11\r\n",
        "GET @ ICY/1.1\r\n\x11\r\n",
        "GET @ HTTP 1.1\r\n\x11\r\n",
        "PRI * HTTP/2.0\r\nX: y\r\n\r\n",
        "\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "PRI * HTTP/1.1\r\n\x11\r\nSM\r\n\r\n",
        // TLS, and nonsense.
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03\n\n",
        "\x00\x00\x00\x00\n",
        "EHLO evil.example\r\n",
    ] {
        cases.push((format!("{head}{HIDDEN}"), BAD));
    }
    for head in [
        "GET @ HTTP/1.1\r\n\x11X: a\tb\u{00e9}\r\n\r\n",
        "\r\nGET @ HTTP/1.1\r\n\x11\r\n",
        "GET @ HTTP/1.1\r\n\x11X:\r\n\r\n",
    ] {
        cases.push((head.to_owned(), Passes(1)));
    }
    cases
}

/// Hosts, targets and methods.
fn destinations() -> Vec<(String, Fate)> {
    const ASTRAY: Fate = Denied(&[400, 421]);
    let mut cases = Vec::new();
    for hosts in [
        "",
        "Host: localhost\r\nHost: localhost\r\n",
        "Host: localhost\r\nHost: evil.example\r\n",
        "Host: evil.example\r\nHost: localhost\r\n",
        "Host:\r\n",
        "Host: local host\r\n",
        "Host: localhost, evil.example\r\n",
        "Host: localhost,localhost\r\n",
        "Host: user@localhost\r\n",
        "Host: localhost@evil.example\r\n",
        "Host: localhost/evil\r\n",
        "Host: localhost?x\r\n",
        "Host: localhost#x\r\n",
        "Host: localhost\\evil\r\n",
        "Host: http://localhost\r\n",
        "Host: localhost:80:80\r\n",
        "Host: localhost:port\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: [::1]evil.example\r\n",
        "Host: local\x12host\r\n",
        "Host: %6cocalhost\r\n",
        "Host: localhost%00.evil.example\r\n",
        "Host: evil.example\r\n",
        "Host: localhost.evil.example\r\n",
        "Host: 127.0.0.1.evil.example\r\n",
        "Host: evil.example:80\r\n",
        "Host: 169.254.169.254\r\n",
        "Host: 0\r\n",
        "X-Host: localhost\r\n",
        "Host: evil.example\r\nX-Forwarded-Host: localhost\r\n",
    ] {
        cases.push((format!("GET @ HTTP/1.1\r\n{hosts}\r\n"), ASTRAY));
    }
    cases.push(("GET @ HTTP/1.0\r\n\r\n".to_owned(), ASTRAY));
    for target in [
        "http://evil.example@",
        "http://localhost:1@evil.example@",
        "http://evil.example@",
        "http://user@localhost@",
        "http://user:password@localhost@",
        "http://localhost.evil.example@",
        "https://evil.example:443@",
        "//evil.example:80",
        "http:@",
        "http:/@",
        "localhost:80",
        "evil.example",
        "*",
        "..@",
        "\\@",
        "\\\\evil.example@",
        "mailto:x",
        "file:///etc/passwd",
    ] {
        let fate = if target.starts_with("//") { Passes(1) } else { ASTRAY };
        cases.push((
            get(&format!("GET {} HTTP/1.1", target.replace("example@evil", "example\x13evil"))),
            fate,
        ));
    }
    for target in [
        "@",
        "@?a=b",
        "@//c",
        "@/../d",
        "@%2e%2e%2f",
        "@?http://evil.example/",
        "@;a=b",
        "@?",
        "http://localhost@",
    ] {
        cases.push((get(&format!("GET {target} HTTP/1.1")), Passes(1)));
    }
    for (method, target) in [
        ("CONNECT", "evil.example:443"),
        ("CONNECT", "localhost:443"),
        ("CONNECT", "@"),
        ("CONNECT", "http://localhost@"),
        ("TRACE", "@"),
        ("TRACK", "@"),
        ("TRACE", "*"),
    ] {
        cases.push((get(&format!("{method} {target} HTTP/1.1")), Refused(&[400, 405, 421, 501])));
    }
    for method in ["OPTIONS", "PATCH", "PUT", "DELETE", "get", "PROPFIND", "M-SEARCH"] {
        cases.push((get(&format!("{method} @ HTTP/1.1")), Passes(1)));
    }
    cases
}

/// Messages that ask for something else than HTTP/1.1.
fn upgrades() -> Vec<(String, Fate)> {
    let mut cases = Vec::new();
    for asking in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
        "Connection: Upgrade\r\nUpgrade: TLS/1.0\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n",
        "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n",
        "Expect: 100-continue\r\n",
        "Expect: 100-Continue, x\r\n",
        "Expect: x\r\n",
        "Expect:\r\n",
    ] {
        // Without a 101 what follows is a request of its own, whole or refused.
        cases.push((fields(asking), Passes(1)));
        cases.push((format!("{}{}", fields(asking), fields("")), Passes(2)));
        cases.push((
            format!(
                "{}{}{}",
                post(&format!("{asking}Content-Length: 5\r\n"), "hello"),
                fields(""),
                HIDDEN.replace('\n', "")
            ),
            Refused(&[200, 400]),
        ));
        cases.push((
            post(&format!("{asking}Transfer-Encoding: chunked\r\n"), "5\r\nhello\r\n0\r\n\r\n"),
            Passes(1),
        ));
    }
    cases
}

/// Too much of everything.
fn oversized() -> Vec<(String, Fate)> {
    let large = |count: usize| "x".repeat(count);
    vec![
        (fields(&format!("X: {}\r\n", large(70_000))), Refused(&[431])),
        (fields(&format!("{}: y\r\n", large(70_000))), Refused(&[400, 431])),
        (fields(&format!("X: {}", large(70_000))), Refused(&[431])),
        (get(&format!("GET @?{} HTTP/1.1", large(70_000))), Refused(&[414, 431])),
        (get(&format!("GET @?{} HTTP/1.1", large(60_000))), Passes(1)),
        (format!("{} @ HTTP/1.1\r\n\x11\r\n", large(70_000)), Refused(&[400, 431])),
        (fields(&"X: y\r\n".repeat(100)), Refused(&[431])),
        (fields(&"X: y\r\n".repeat(99)), Passes(1)),
        (fields(&"X: y\r\n".repeat(20_000)), Refused(&[431])),
        ("\r\n".repeat(40_000), Refused(&[431])),
        (large(70_000), Refused(&[431])),
    ]
}

fn run(stage: &Stage, case: usize, text: &str, fate: Fate) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut caller: Caller = stage.caller();
    caller.send(bytes(case, text));
    let answers = match fate {
        Passes(count) => count,
        Refused(_) | Denied(_) => 1,
    };
    let method = text.split(' ').next().unwrap_or_default().to_owned();
    let answers: Vec<_> = (0..answers).map(|_| caller.answer_to(&method)).collect();
    match fate {
        Passes(_) => {
            for answer in &answers {
                if answer.status != 200 || answer.cut {
                    wrong.push(format!("answered {} {}", answer.status, answer.text()));
                }
            }
        }
        Denied(statuses) => {
            if !statuses.contains(&answers[0].status) || answers[0].code().is_empty() {
                wrong.push(format!("answered {}", answers[0].status));
            }
        }
        Refused(statuses) => {
            let status = answers[0].status;
            if status >= 400 && !answers[0].code().starts_with("proxy.") {
                wrong.push(format!("{status} in nobody's name: {:?}", answers[0]));
            }
            if !statuses.contains(&status) {
                wrong.push(format!("answered {status}"));
            }
            // Nothing more comes: the connection ends, by itself or by its clock.
            let rest = caller.rest();
            let rest = String::from_utf8_lossy(&rest);
            if status != 200 && !rest.is_empty() {
                wrong.push(format!("more than a refusal: {rest:?}"));
            }
        }
    }
    wrong
}

/// Runs `cases` at once, then looks at what upstream got.
fn check(cases: &[(String, Fate)]) {
    const SHORT: &str = "access.header_timeout = \"1s\"\naccess.body_timeout = \"1s\"\n\
                         access.keep_alive = \"1s\"\ntelemetry.log = \"info\"\n";
    let stage = Stage::with(SHORT, |line| {
        while let Some(request) = line.request() {
            line.send(&ok(&request.line()));
        }
    });
    let wrong = Mutex::new(Vec::new());
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let case = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((text, fate)) = cases.get(case) else { return };
                    for what in run(&stage, case, text, *fate) {
                        let short: String = text.chars().take(200).collect();
                        wrong.lock().unwrap().push(format!("{case} {fate:?} {short:?}: {what}"));
                    }
                }
            });
        }
    });
    let host = stage.peer.address.to_string();
    let mut seen = vec![0; cases.len()];
    let mut wrong = wrong.into_inner().unwrap();
    for record in stage.end() {
        let (requests, _) = record.requests();
        for request in requests {
            if let Err(error) = crate::support::raw::check(&request, &host) {
                wrong.push(error);
            }
            let case =
                request.target.split(['/', '?', ';', '%', '.']).filter(|s| !s.is_empty()).nth(1);
            let case: Option<usize> = case.and_then(|case| case.parse().ok());
            match case {
                Some(case) if request.target.starts_with("/case/") => seen[case] += 1,
                _ if request.target == "//evil.example:80" => {}
                _ => wrong.push(format!("upstream got {}", request.line())),
            }
        }
    }
    for (case, ((text, fate), seen)) in cases.iter().zip(seen).enumerate() {
        let right = match fate {
            Passes(count) => seen == *count || text.contains("//evil"),
            // 200: the bytes before the malformed ones were a request of their own.
            Refused(statuses) if statuses.contains(&200) => seen <= 2,
            Denied(_) | Refused(_) => seen == 0,
        };
        if !right {
            let short: String = text.chars().take(200).collect();
            wrong.push(format!("{case} {fate:?} {short:?}: upstream got {seen} requests"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn two_lengths_and_odd_lengths_are_refused_and_hide_no_request() {
    check(&lengths());
}

#[test]
fn malformed_chunks_never_become_a_whole_request_upstream() {
    check(&chunks());
}

#[test]
fn unclean_lines_versions_and_methods_are_refused() {
    check(&unclean());
}

#[test]
fn callers_cannot_choose_the_destination() {
    check(&destinations());
}

#[test]
fn without_a_101_there_is_no_tunnel_and_expectations_hide_nothing() {
    check(&upgrades());
}

#[test]
fn heads_beyond_the_limits_are_refused_as_too_large() {
    check(&oversized());
}

#[test]
fn a_body_that_breaks_in_mid_upload_is_the_callers_400_and_never_whole_upstream() {
    for broken in ["x\r\nhello\r\n0\r\n\r\n", "5\nhello\r\n0\r\n\r\n", "0\r\nx\r\n\r\n"] {
        let stage = Stage::new(Line::wait_closed);
        let mut caller = stage.caller();
        caller.send("POST /a HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        caller.send("5\r\nhello\r\n");
        let arrived = |records: &[Record]| records.iter().any(|r| r.bytes.ends_with(b"hello\r\n"));
        stage.peer.wait("beginning of the body", arrived);
        caller.send(broken);
        let answer = caller.answer();
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "proxy.body.broken"),
            "{broken:?}"
        );
        assert!(caller.rest().is_empty(), "a second answer");
        let record = stage.peer.wait_for_end(0);
        assert!(record.requests().0.is_empty(), "{broken:?} became a whole request");
    }
}

#[test]
fn a_caller_that_leaves_in_mid_upload_leaves_no_whole_request_behind() {
    for head in
        ["Content-Length: 9\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"]
    {
        let stage = Stage::new(Line::wait_closed);
        let mut caller = stage.caller();
        caller.send(format!("POST /a HTTP/1.1\r\nHost: localhost\r\n{head}"));
        let arrived = |records: &[Record]| {
            records.iter().any(|r| String::from_utf8_lossy(&r.bytes).contains("hello"))
        };
        stage.peer.wait("beginning of the body", arrived);
        drop(caller);
        assert!(stage.peer.wait_for_end(0).requests().0.is_empty());
    }
}

#[test]
fn a_request_behind_a_refused_one_is_not_read() {
    let stage = Stage::new(|line| {
        while line.request().is_some() {
            line.send(&ok("{}"));
        }
    });
    // Refused by its head alone: what follows is its body, and then no request of ours.
    for refused in ["TRACE /a", "GET http://evil.example/a"] {
        let mut caller = stage.caller();
        caller.send(format!(
            "{refused} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 47\r\n\r\n\
             GET /smuggled HTTP/1.1\r\nHost: localhost\r\nA: b\r\n\r\n"
        ));
        assert!(matches!(caller.answer().status, 405 | 421), "{refused}");
        caller.end_sending();
        assert!(caller.rest().is_empty(), "{refused}: a second answer");
    }
    assert!(stage.end().iter().all(|record| record.bytes.is_empty()));
}

#[test]
fn many_pipelined_requests_are_answered_in_order() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            line.send(&ok(&request.line()));
        }
    });
    let mut caller = stage.caller();
    let all: String = (0..300)
        .map(|n| match n % 3 {
            0 => format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            1 => format!("PUT /{n} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"),
            _ => format!("PUT /{n} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        })
        .collect();
    // Cut in odd places: lines and chunks come in pieces.
    for piece in all.as_bytes().chunks(1013) {
        caller.send(piece);
    }
    for n in 0..300 {
        let method = if n % 3 == 0 { "GET" } else { "PUT" };
        assert_eq!(caller.answer().text(), format!("{method} /{n}"));
    }
}

#[test]
fn bytes_one_by_one_mean_the_same() {
    let stage = Stage::new(|line| {
        while let Some(request) = line.request() {
            line.send(&ok(&format!("{} {}", request.line(), request.body.len())));
        }
    });
    let text = "\r\nPUT /a HTTP/1.1\r\nHost: localhost\r\nX: y\r\nTransfer-Encoding: chunked\r\n\r\n\
                5;a=b\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\nGET /b HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut caller = stage.caller();
    for byte in text.as_bytes() {
        caller.send([*byte]);
    }
    assert_eq!(caller.answer().text(), "PUT /a 5");
    assert_eq!(caller.answer().text(), "GET /b 0");
    let mut caller = stage.caller();
    for byte in b"GET /c HTTP/1.1\r\nHost: localhost\r\nX: y\nX: z\r\n\r\n" {
        caller.send([*byte]);
    }
    let answer = caller.answer();
    assert_eq!((answer.status, answer.code().as_str()), (400, "proxy.bad.request"));
}
