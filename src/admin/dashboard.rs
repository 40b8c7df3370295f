//! The page at `/`: the same numbers as `/api/status`, to be looked at.
//! It never loads anything from elsewhere, and runs no script but its own.

use std::sync::OnceLock;

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use http_body_util::Full;

const PAGE: &str = include_str!("dashboard/page.html");
const STYLE: &str = include_str!("dashboard/style.css");
const SCRIPT: &str = include_str!("dashboard/script.js");

const OPENER: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

/// What is made once.
struct Made {
    page: Bytes,
    policy: HeaderValue,
}

/// The page.
pub(super) fn page() -> Response<Full<Bytes>> {
    static MADE: OnceLock<Made> = OnceLock::new();
    let made = MADE.get_or_init(make);
    let mut response = Response::new(Full::new(made.page.clone()));
    let text = HeaderValue::from_static;
    let fields = [
        (header::CONTENT_TYPE, text("text/html; charset=utf-8")),
        (header::CONTENT_SECURITY_POLICY, made.policy.clone()),
        (header::X_CONTENT_TYPE_OPTIONS, text("nosniff")),
        (header::REFERRER_POLICY, text("no-referrer")),
        (OPENER, text("same-origin")),
        // Another version may be behind this address after an upgrade.
        (header::CACHE_CONTROL, text("no-cache")),
    ];
    response.headers_mut().extend(fields);
    response
}

fn make() -> Made {
    let page = PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT);
    // Only what has these bytes is run or applied (CSP level 3, section 8.3).
    let hash = |text: &str| STANDARD.encode(digest(&SHA256, text.as_bytes()));
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        hash(SCRIPT),
        hash(STYLE)
    );
    // Base64 is visible ASCII.
    let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("sandbox"));
    Made { page: page.into(), policy }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between<'p>(page: &'p str, from: &str, to: &str) -> &'p str {
        page.split_once(from).unwrap().1.split_once(to).unwrap().0
    }

    #[test]
    fn the_policy_allows_what_the_page_holds_and_nothing_else() {
        let made = make();
        let page = str::from_utf8(&made.page).unwrap();
        let policy = made.policy.to_str().unwrap();
        for (tag, source) in [("script", "script-src"), ("style", "style-src")] {
            let held = between(page, &format!("<{tag}>"), &format!("</{tag}>"));
            let hash = STANDARD.encode(digest(&SHA256, held.as_bytes()));
            assert!(policy.contains(&format!("{source} 'sha256-{hash}'")), "{tag}: {policy}");
            assert_eq!(page.matches(&format!("<{tag}")).count(), 1, "{tag}");
        }
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"));
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_no_text_becomes_a_page() {
        let made = make();
        let page = str::from_utf8(&made.page).unwrap();
        // The namespace of SVG is a name.
        let page = page.replace("http://www.w3.org/2000/svg", "");
        for word in [
            "http:",
            "https:",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            " style=",
            " onclick",
            "localStorage",
        ] {
            assert!(!page.contains(word), "{word}");
        }
    }
}
