//! Answers in Genesys's shapes: JSON, and the error body that every SDK parses.
//! It must never decide what to answer.

use http::{HeaderValue, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;

use super::body::{self, Body};

/// An answer on its way out.
pub(super) type Answer = Response<Body>;

/// A JSON answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let text = serde_json::to_vec(value).expect("no map here has a key that is not a string");
    let mut answer = Response::new(body::full(text));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    answer
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(body::full(""));
    *answer.status_mut() = status;
    answer
}

/// A body of some type, with status 200.
pub(super) fn content(kind: &'static str, content: Body) -> Answer {
    let mut answer = Response::new(content);
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The same answer with a header set; a value that cannot be one is left out.
pub(super) fn with(mut answer: Answer, name: header::HeaderName, value: &str) -> Answer {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

/// The same JSON object with one more field.
pub(super) fn also(mut object: Value, field: &str, value: impl Into<Value>) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert(field.to_owned(), value.into());
    }
    object
}

/// A failure as Genesys describes it.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    status: StatusCode,
    code: String,
    message: String,
    params: Option<Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemBody<'a> {
    message: &'a str,
    code: &'a str,
    status: u16,
    context_id: &'a str,
    details: [(); 0],
    errors: [(); 0],
    #[serde(skip_serializing_if = "Option::is_none")]
    message_params: Option<&'a Value>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { status, code: code.into(), message: message.into(), params: None }
    }

    /// The usual problem of this status.
    pub(super) fn of(status: StatusCode) -> Self {
        let (code, message) = match status.as_u16() {
            401 => ("bad.credentials", "Invalid login credentials."),
            403 => ("not.authorized", "You are not authorized to perform the requested action."),
            404 => ("not.found", "The requested resource was not found."),
            405 => ("method.not.allowed", "The method is not allowed on this resource."),
            413 => ("request.entity.too.large", "The request body is too large."),
            500 => ("internal.server.error", "The server encountered an unexpected condition."),
            502 => ("bad.gateway", "The server got an invalid response."),
            503 => ("service.unavailable", "The service is temporarily unavailable."),
            504 => ("gateway.timeout", "The request timed out."),
            _ => ("bad.request", "The request could not be understood by the server."),
        };
        Self::new(status, code, message)
    }

    /// A 400 that says what is wrong.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad.request", message)
    }

    /// The 429 of the rate limit, without its Retry-After.
    pub(super) fn too_many(retry_after: u64) -> Self {
        let message = format!(
            "Rate limit exceeded the maximum. Retry the request in [{retry_after}] seconds"
        );
        Self::new(StatusCode::TOO_MANY_REQUESTS, "too.many.requests.retry.after", message)
    }

    /// The same with `messageParams`.
    pub(super) fn with_params(mut self, params: Value) -> Self {
        self.params = Some(params);
        self
    }

    /// The same with another code.
    pub(super) fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = code.into();
        self
    }

    /// As an answer to the request with this correlation id.
    pub(super) fn answer(&self, context_id: &str) -> Answer {
        let body = ProblemBody {
            message: &self.message,
            code: &self.code,
            status: self.status.as_u16(),
            context_id,
            details: [],
            errors: [],
            message_params: self.params.as_ref(),
        };
        json(self.status, &body)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn the_429_is_genesyss_own_to_the_letter() {
        let answer = Problem::too_many(42).answer("c0ffee");
        assert_eq!(answer.status(), 429);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let expected = "{\"message\":\"Rate limit exceeded the maximum. Retry the request in [42] \
                        seconds\",\"code\":\"too.many.requests.retry.after\",\"status\":429,\
                        \"contextId\":\"c0ffee\",\"details\":[],\"errors\":[]}";
        assert_eq!(body, expected);
    }
}
