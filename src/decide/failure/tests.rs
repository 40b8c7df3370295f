//! What each failure is to its caller.

use super::*;

#[test]
fn retry_after_rounds_up_so_that_whoever_comes_back_then_is_served() {
    let after =
        |millis| Failure::RateLimited { retry_after: Duration::from_millis(millis) }.retry_after();
    assert_eq!([after(0), after(1), after(1000), after(1001)], [1, 1, 1, 2].map(Some));
}

/// Public names: the table must have a row for each.
#[test]
fn every_code_is_documented_with_its_status() {
    let retry_after = Duration::from_secs(1);
    let table = include_str!("../../../docs/errors.md");
    for failure in [
        Failure::BadRequest(""),
        Failure::Misdirected,
        Failure::CrossSite,
        Failure::HeaderRequired,
        Failure::UriTooLong,
        Failure::MethodRefused,
        Failure::CallerUnknown(""),
        Failure::KeysUnavailable,
        Failure::CallersCrowd,
        Failure::Denied,
        Failure::NotAllowed,
        Failure::CallerPaused,
        Failure::BodyBroken,
        Failure::CallerLeft,
        Failure::BodyTimeout,
        Failure::RateLimited { retry_after },
        Failure::QueueFull { retry_after },
        Failure::TokenUnavailable { retry_after },
        Failure::CredentialsRefused { retry_after },
        Failure::Unreachable,
        Failure::TlsFailed,
        Failure::ConnectTimeout,
        Failure::ResponseTimeout,
        Failure::UpstreamBroken,
        Failure::BadAnswer,
        Failure::Draining,
        Failure::AuditUnavailable,
    ] {
        let Facts { status, code, .. } = failure.facts();
        assert!(table.contains(&format!("| {status} | `{code}` |")), "{status} {code}");
    }
}

#[test]
fn the_gateways_own_trouble_with_a_token_is_never_a_401() {
    let retry_after = Duration::from_secs(1);
    for failure in
        [Failure::TokenUnavailable { retry_after }, Failure::CredentialsRefused { retry_after }]
    {
        assert_eq!(failure.facts().status, 503);
        assert_eq!(failure.facts().code, "proxy.token.unavailable");
    }
}
