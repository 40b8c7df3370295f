//! Every ending that is not upstream's answer: its status, its stable code, what the caller reads.
//! It never carries a cause from inside: callers get the code, the log gets the chain.

use std::time::Duration;

use super::keys;

/// How the gateway itself ends a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The request cannot be understood or forwarded safely; the sentence says what is wrong.
    BadRequest(&'static str),
    /// The head is larger, or has more fields, than the configuration allows; the sentence says which.
    HeadTooLarge(&'static str),
    /// HTTP, but neither 1.0, 1.1 nor 2.
    Version,
    /// Host names somebody else (RFC 9110 section 15.5.20): a stray, or DNS rebinding.
    Misdirected,
    /// A browser sent it on behalf of another site.
    CrossSite,
    /// It lacks the field that `access.require_header` names.
    HeaderRequired,
    /// The target is longer than the configuration allows.
    UriTooLong,
    /// CONNECT, TRACE and their like.
    MethodRefused,
    /// Nobody knows who calls, and only known callers may; the sentence says what to do.
    CallerUnknown(&'static str),
    /// The keys that callers' tokens are verified with cannot be had.
    KeysUnavailable,
    /// So many callers are being asked who they are that there is no room for one more.
    CallersCrowd,
    /// `access.deny` names it.
    Denied,
    /// Its caller's own rules do not let it through.
    NotAllowed,
    /// Its caller has been paused by the operator.
    CallerPaused,
    /// The caller's body, or its chunks, were malformed.
    BodyBroken,
    /// The caller left in mid-body. One that only stopped sending reads the answer.
    CallerLeft,
    /// The caller stopped sending in mid-body.
    BodyTimeout,
    /// Its turn would come after its deadline.
    RateLimited {
        /// When its turn would come.
        retry_after: Duration,
    },
    /// `rate_limit.max_queue` others wait already.
    QueueFull {
        /// When the line will have moved.
        retry_after: Duration,
    },
    /// No usable token, and none within the deadline.
    TokenUnavailable {
        /// When the next mint starts.
        retry_after: Duration,
    },
    /// The token endpoint refuses our credentials.
    CredentialsRefused {
        /// When the next mint starts.
        retry_after: Duration,
    },
    /// No connection to upstream.
    Unreachable,
    /// Upstream's certificate or handshake failed.
    TlsFailed,
    /// Connecting took longer than `upstream.connect_timeout`.
    ConnectTimeout,
    /// No answer within `upstream.response_timeout`.
    ResponseTimeout,
    /// The connection broke before an answer.
    UpstreamBroken,
    /// The answer cannot be passed on safely.
    BadAnswer,
    /// The gateway is shutting down.
    Draining,
    /// The call cannot be recorded, and `audit.on_failure` wants each to be.
    AuditUnavailable,
}

/// What a failure is to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// HTTP status.
    pub status: u16,
    /// Stable, `proxy.*`.
    pub code: &'static str,
    /// What happened and what to do.
    pub message: &'static str,
    /// RFC 9209 section 2.3 error type.
    pub proxy_status: &'static str,
}

impl Facts {
    /// The gateway did not want the request to pass; otherwise it could not do what it was asked to.
    pub fn refused(&self) -> bool {
        self.proxy_status.starts_with("http_request_")
            || self.proxy_status == "proxy_internal_response"
            // Whoever it is has not been found to be allowed anything.
            || *self == Failure::KeysUnavailable.facts()
    }
}

impl Failure {
    /// One row a failure.
    #[expect(clippy::too_many_lines, reason = "a table: one row a failure")]
    pub fn facts(self) -> Facts {
        let (status, code, message, proxy_status) = match self {
            Self::BadRequest(sentence) => {
                (400, "proxy.bad.request", sentence, "http_request_error")
            }
            Self::HeadTooLarge(sentence) => {
                (431, "proxy.head.too.large", sentence, "http_request_error")
            }
            Self::Version => (
                505,
                "proxy.version",
                "The HTTP version is not supported; use HTTP/1.1 or HTTP/2",
                "http_request_error",
            ),
            Self::Misdirected => (
                421,
                "proxy.misdirected",
                "This gateway does not answer for that Host; add it to access.hosts if it should",
                "http_request_denied",
            ),
            Self::CrossSite => (
                403,
                "proxy.cross.site",
                "Requests from web pages of other sites are refused",
                "http_request_denied",
            ),
            Self::HeaderRequired => (
                403,
                "proxy.header.required",
                "Send the header that the gateway's access.require_header names",
                "http_request_denied",
            ),
            Self::UriTooLong => (
                414,
                "proxy.uri.too.long",
                "The request target is longer than access.max_uri_bytes",
                "http_request_error",
            ),
            Self::MethodRefused => {
                (405, "proxy.method.refused", "This method is not forwarded", "http_request_denied")
            }
            Self::Denied => (
                403,
                "proxy.denied",
                "The gateway's access.deny does not let this call through",
                "http_request_denied",
            ),
            Self::CallerUnknown(sentence) => {
                (401, "proxy.caller.unknown", sentence, "http_request_denied")
            }
            Self::KeysUnavailable => (
                503,
                "proxy.caller.keys.unavailable",
                "The gateway cannot get the keys that your token is verified with",
                "destination_unavailable",
            ),
            Self::CallersCrowd => (
                503,
                "proxy.caller.crowd",
                "Too many callers are to be identified at once; try again in a moment",
                "http_request_denied",
            ),
            Self::NotAllowed => (
                403,
                "proxy.caller.not.allowed",
                "The gateway does not let this caller make this call",
                "http_request_denied",
            ),
            Self::CallerPaused => (
                503,
                "proxy.caller.paused",
                "Whoever runs this gateway has paused your calls; ask them",
                "http_request_denied",
            ),
            Self::BodyBroken | Self::CallerLeft => (
                400,
                "proxy.body.broken",
                "The request body ended early or was malformed",
                "http_request_error",
            ),
            Self::BodyTimeout => (
                408,
                "proxy.body.timeout",
                "The request body stopped coming; see access.body_timeout",
                "http_request_error",
            ),
            Self::RateLimited { .. } => (
                429,
                "proxy.rate.limited",
                "Rate limit exceeded the maximum",
                "http_request_denied",
            ),
            Self::QueueFull { .. } => (
                429,
                "proxy.queue.full",
                "Too many requests are waiting for their turn",
                "http_request_denied",
            ),
            Self::TokenUnavailable { .. } => (
                503,
                "proxy.token.unavailable",
                "The gateway could not get a token from Genesys Cloud",
                "destination_unavailable",
            ),
            Self::CredentialsRefused { .. } => (
                503,
                "proxy.token.unavailable",
                "Genesys Cloud refused the gateway's credentials; its operator must fix them",
                "proxy_configuration_error",
            ),
            Self::Unreachable => (
                502,
                "proxy.upstream.unreachable",
                "Genesys Cloud could not be reached",
                "destination_unavailable",
            ),
            Self::TlsFailed => (
                502,
                "proxy.upstream.tls",
                "The TLS connection to Genesys Cloud could not be trusted or established",
                "tls_protocol_error",
            ),
            Self::ConnectTimeout => (
                504,
                "proxy.upstream.connect.timeout",
                "Connecting to Genesys Cloud took too long",
                "connection_timeout",
            ),
            Self::ResponseTimeout => (
                504,
                "proxy.upstream.timeout",
                "Genesys Cloud did not answer in time; the call may have been carried out",
                "http_response_timeout",
            ),
            Self::UpstreamBroken => (
                502,
                "proxy.upstream.broken",
                "The connection broke before an answer; the call may have been carried out",
                "connection_terminated",
            ),
            Self::BadAnswer => (
                502,
                "proxy.upstream.bad.answer",
                "The answer could not be passed on safely",
                "http_protocol_error",
            ),
            Self::Draining => (
                503,
                "proxy.draining",
                "The gateway is shutting down; try another or again in a moment",
                "proxy_internal_response",
            ),
            Self::AuditUnavailable => (
                503,
                "proxy.audit.unavailable",
                "The gateway cannot record calls and so makes none; its operator must see to it",
                "http_request_denied",
            ),
        };
        Facts { status, code, message, proxy_status }
    }

    /// Whole seconds after which trying again makes sense, rounded up so that the promise holds.
    pub fn retry_after(self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after }
            | Self::QueueFull { retry_after }
            | Self::TokenUnavailable { retry_after }
            | Self::CredentialsRefused { retry_after } => {
                let partial = u64::from(retry_after.subsec_nanos() > 0);
                Some((retry_after.as_secs() + partial).max(1))
            }
            Self::Draining | Self::CallersCrowd => Some(1),
            // Somebody has to change their mind.
            Self::CallerPaused => Some(60),
            // Its keys are fetched again no sooner.
            Self::KeysUnavailable => Some(keys::CALLERS_COOL_DOWN.as_secs()),
            // Disks are tried again after a quarter of a second, and filled by somebody for longer.
            Self::AuditUnavailable => Some(5),
            Self::BadRequest(_)
            | Self::HeadTooLarge(_)
            | Self::Version
            | Self::Misdirected
            | Self::CrossSite
            | Self::HeaderRequired
            | Self::UriTooLong
            | Self::MethodRefused
            | Self::CallerUnknown(_)
            | Self::Denied
            | Self::NotAllowed
            | Self::BodyBroken
            | Self::CallerLeft
            | Self::BodyTimeout
            | Self::Unreachable
            | Self::TlsFailed
            | Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::UpstreamBroken
            | Self::BadAnswer => None,
        }
    }

    /// The connection cannot be used for another request.
    pub fn closes(self) -> bool {
        match self {
            Self::BadRequest(_)
            | Self::HeadTooLarge(_)
            | Self::Version
            | Self::BodyBroken
            | Self::CallerLeft
            | Self::BodyTimeout
            | Self::Draining => true,
            Self::Misdirected
            | Self::CrossSite
            | Self::HeaderRequired
            | Self::UriTooLong
            | Self::MethodRefused
            | Self::CallerUnknown(_)
            | Self::KeysUnavailable
            | Self::CallersCrowd
            | Self::CallerPaused
            | Self::Denied
            | Self::NotAllowed
            | Self::RateLimited { .. }
            | Self::QueueFull { .. }
            | Self::TokenUnavailable { .. }
            | Self::CredentialsRefused { .. }
            | Self::Unreachable
            | Self::TlsFailed
            | Self::ConnectTimeout
            | Self::ResponseTimeout
            | Self::UpstreamBroken
            | Self::BadAnswer
            | Self::AuditUnavailable => false,
        }
    }
}

#[cfg(test)]
mod tests;
