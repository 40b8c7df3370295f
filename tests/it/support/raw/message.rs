//! HTTP/1.1 requests, read as strictly as the RFC allows: what upstream gets must have one meaning.

use super::TOKEN;

/// A request as upstream got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: String,
    pub target: String,
    /// Names in lower case, in order.
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub trailers: Vec<(String, String)>,
    /// Its body came in chunks.
    pub chunked: bool,
}

impl Request {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(n, _)| n == name).map(|(_, value)| value.as_str()).collect()
    }

    /// `METHOD target`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

/// The first request in `bytes` and how long it is; `None` while it is not whole.
pub fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return if bytes.len() > 1 << 20 { Err("endless head".to_owned()) } else { Ok(None) };
    };
    let line = &bytes[..find(bytes, b"\r\n").unwrap_or(end)];
    let line = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else {
        return Err(format!("request line {line:?}"));
    };
    let visible = |word: &str| word.bytes().all(|byte| byte.is_ascii_graphic());
    if method.is_empty() || !method.bytes().all(is_token) || target.is_empty() || !visible(target) {
        return Err(format!("request line {line:?}"));
    }
    let head = &bytes[line.len() + 2..(end + 2).max(line.len() + 2)];
    let fields = fields(head)?;
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        fields,
        body: Vec::new(),
        trailers: Vec::new(),
        chunked: false,
    };
    let used = body(&mut request, bytes, end + 4)?;
    Ok(used.map(|used| (request, used)))
}

/// `end` is where the body begins.
fn body(request: &mut Request, bytes: &[u8], mut at: usize) -> Result<Option<usize>, String> {
    match (&request.all("content-length")[..], &request.all("transfer-encoding")[..]) {
        ([], []) => Ok(Some(at)),
        ([length], []) => {
            if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(format!("content-length {length:?}"));
            }
            let end = at + length.parse::<usize>().map_err(|error| error.to_string())?;
            request.body = bytes.get(at..end).unwrap_or_default().to_vec();
            Ok((bytes.len() >= end).then_some(end))
        }
        ([], ["chunked"]) => {
            request.chunked = true;
            loop {
                let Some(line) = find(&bytes[at..], b"\r\n") else { return Ok(None) };
                let size = std::str::from_utf8(&bytes[at..at + line]).map_err(|e| e.to_string())?;
                let size = usize::from_str_radix(size, 16).map_err(|e| format!("{size:?}: {e}"))?;
                at += line + 2;
                if size == 0 {
                    break;
                }
                let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
                let Some(chunk) = chunk.strip_suffix(b"\r\n") else {
                    return Err("a chunk without CRLF".to_owned());
                };
                request.body.extend_from_slice(chunk);
                at += size + 2;
            }
            if bytes[at..].starts_with(b"\r\n") {
                return Ok(Some(at + 2));
            }
            let Some(end) = find(&bytes[at..], b"\r\n\r\n") else { return Ok(None) };
            request.trailers = fields(&bytes[at..at + end + 2])?;
            Ok(Some(at + end + 4))
        }
        both => Err(format!("framing {both:?}")),
    }
}

/// What must be true of every request, whoever sent what: one Host, upstream's; one
/// Authorization, ours.
pub fn check(request: &Request, host: &str) -> Result<(), String> {
    if request.all("host") != [host] {
        return Err(format!("Host {:?} in {request:?}", request.all("host")));
    }
    if request.all("authorization") != [format!("Bearer {TOKEN}")] {
        return Err(format!("Authorization {:?}", request.all("authorization")));
    }
    Ok(())
}

/// Field lines, each with its CRLF.
pub fn fields(head: &[u8]) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        let end = find(rest, b"\r\n").ok_or("a field line without CRLF")?;
        let line = &rest[..end];
        rest = &rest[end + 2..];
        let colon = line.iter().position(|&byte| byte == b':').ok_or("a field without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let clean = |byte: &u8| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f);
        if name.is_empty() || !name.iter().copied().all(is_token) || !value.iter().all(clean) {
            return Err(format!("field line {:?}", String::from_utf8_lossy(line)));
        }
        fields.push((
            String::from_utf8_lossy(name).to_lowercase(),
            String::from_utf8_lossy(value).into_owned(),
        ));
    }
    Ok(fields)
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

pub fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}
