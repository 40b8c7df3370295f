//! Which web pages may call, and what their browsers are told of it (Fetch standard, section 3.2).
//! It never names an origin that is not listed, nor allows credentials: there is no wildcard.

use http::{
    HeaderMap, HeaderName, HeaderValue, Method,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
        ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
    },
};

use super::{
    asked::{Asked, Lines},
    bytes::{self, TOKEN},
    failure::Failure,
    headers::{drop_all, withhold},
};

/// How long a browser may remember what it was allowed.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
/// A browser asks whether a page may reach a machine of a nearer network than its own.
const REQUEST_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-request-private-network");
const ALLOW_PRIVATE_NETWORK: HeaderName =
    HeaderName::from_static("access-control-allow-private-network");

/// Who may call out of a browser.
#[derive(Debug, Clone, Default)]
pub struct Pages {
    /// As a browser writes them, `scheme://host[:port]`.
    origins: Vec<HeaderValue>,
    /// What every call must carry: no page of another site can add it without asking first.
    required: Option<HeaderName>,
}

/// Which page a call is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// None of another site, as far as a browser tells; programs tell nothing.
    None,
    /// One of a listed origin.
    Listed(Box<HeaderValue>),
    /// One of any other.
    Foreign,
}

impl Page {
    /// It may call.
    pub fn is_listed(&self) -> bool {
        match self {
            Self::Listed(_) => true,
            Self::None | Self::Foreign => false,
        }
    }
}

impl Pages {
    /// Origins are compared byte by byte.
    pub fn new(origins: &[HeaderValue], required: Option<&HeaderName>) -> Self {
        Self { origins: origins.to_vec(), required: required.cloned() }
    }

    /// By what its browser says.
    pub fn of(&self, asked: &Asked) -> Page {
        match &asked.browser.origin {
            Lines::None if asked.browser.cross_site => Page::Foreign,
            Lines::None => Page::None,
            Lines::One(origin) if self.origins.contains(origin) => {
                Page::Listed(Box::new(origin.clone()))
            }
            Lines::One(_) | Lines::Many => Page::Foreign,
        }
    }

    /// The same where pages are served, too: one that came from the very name and port that it calls is none
    /// of another site. That the name is ours is for Host to show.
    pub fn of_or_own(&self, asked: &Asked) -> Page {
        match (&asked.browser.origin, &asked.host) {
            (Lines::One(origin), Lines::One(host))
                if !asked.browser.cross_site && is_of(origin, host) =>
            {
                Page::None
            }
            (Lines::None | Lines::One(_) | Lines::Many, _) => self.of(asked),
        }
    }

    /// Lets a call pass, or says why not.
    ///
    /// # Errors
    /// It is of another site's page, or lacks the field that all calls have here. A preflight has
    /// no fields of the page's own.
    pub fn pass(&self, page: &Page, asked: &Asked, fields: &HeaderMap) -> Result<(), Failure> {
        let listed = match page {
            Page::None => false,
            Page::Listed(_) => true,
            Page::Foreign => return Err(Failure::CrossSite),
        };
        let excused = listed && asked.browser.preflight;
        match &self.required {
            None => Ok(()),
            Some(name) if excused || fields.contains_key(name) => Ok(()),
            Some(_) => Err(Failure::HeaderRequired),
        }
    }

    /// Takes out what is between the caller and us, and means nothing to upstream.
    pub fn withhold(&self, page: &Page, fields: &mut HeaderMap) {
        if let Some(name) = &self.required {
            withhold(fields, name.as_str());
        }
        match page {
            Page::Listed(_) => drop_all(fields, &ORIGIN),
            Page::None | Page::Foreign => {}
        }
    }

    /// What every answer says, whoever made it: that this page may read it, and to caches that
    /// another may not.
    pub fn tell(&self, page: &Page, fields: &mut HeaderMap) {
        if !self.origins.is_empty() {
            fields.append(VARY, HeaderValue::from(ORIGIN));
        }
        match page {
            Page::Listed(origin) => {
                fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::clone(origin));
                // Of fields, not of origins: Retry-After, X-Request-Id, Genesys's own.
                fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("*"));
            }
            Page::None | Page::Foreign => {}
        }
    }
}

/// `http://HOST`, or `https://` where somebody in between speaks TLS.
fn is_of(origin: &HeaderValue, host: &HeaderValue) -> bool {
    let schemes: [&[u8]; 2] = [b"http://", b"https://"];
    schemes.iter().any(|scheme| origin.as_bytes().strip_prefix(*scheme) == Some(host.as_bytes()))
}

/// What a browser is allowed that asks beforehand: what it asked for and nothing else. The call
/// itself is judged when it comes.
///
/// # Errors
/// A method that is not forwarded, or not one.
pub fn preflight(fields: &HeaderMap) -> Result<HeaderMap, Failure> {
    let mut allowed = HeaderMap::new();
    let mut methods = fields.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
    let (Some(method), None) = (methods.next(), methods.next()) else {
        return Err(Failure::BadRequest("Access-Control-Request-Method must appear once"));
    };
    match Method::from_bytes(method.as_bytes()) {
        Ok(method) if !is_refused(&method) => {}
        Ok(_) => return Err(Failure::MethodRefused),
        Err(_) => return Err(Failure::BadRequest("Access-Control-Request-Method is no method")),
    }
    allowed.insert(ACCESS_CONTROL_ALLOW_METHODS, method.clone());
    for line in fields.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        let mut names = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        if !names.all(|name| bytes::all(name, TOKEN)) {
            return Err(Failure::BadRequest("Access-Control-Request-Headers is no list of names"));
        }
        allowed.append(ACCESS_CONTROL_ALLOW_HEADERS, line.clone());
    }
    if fields.get(REQUEST_PRIVATE_NETWORK).is_some_and(|asked| asked == "true") {
        allowed.insert(ALLOW_PRIVATE_NETWORK, HeaderValue::from_static("true"));
    }
    allowed.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    allowed.insert(VARY, HeaderValue::from(ACCESS_CONTROL_REQUEST_METHOD));
    allowed.append(VARY, HeaderValue::from(ACCESS_CONTROL_REQUEST_HEADERS));
    Ok(allowed)
}

/// Longer than any that is registered.
const LONGEST_METHOD: usize = 32;

/// TRACE would echo the token; CONNECT would choose a destination. A small letter makes a method that
/// nobody has registered, and that a lenient server takes for the other: rules would not know it, and
/// `head` would have an answer without the body that its length promises to the next caller.
pub fn is_refused(method: &Method) -> bool {
    let name = method.as_str();
    matches!(name, "CONNECT" | "TRACE" | "TRACK")
        || name.len() > LONGEST_METHOD
        || name.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in lines {
            fields.append(*name, HeaderValue::from_static(value));
        }
        fields
    }

    const APP: &str = "https://app.example";

    fn pages(required: Option<&'static str>) -> Pages {
        let required = required.map(HeaderName::from_static);
        Pages::new(&[HeaderValue::from_static(APP)], required.as_ref())
    }

    fn verdict(pages: &Pages, lines: &[(&'static str, &'static str)]) -> Result<Page, Failure> {
        let fields = map(lines);
        let asked = Asked::of(&fields);
        let page = pages.of(&asked);
        pages.pass(&page, &asked, &fields).map(|()| page)
    }

    #[test]
    fn a_listed_origin_passes_and_what_looks_like_it_does_not() {
        let pages = pages(None);
        let app = Page::Listed(Box::new(HeaderValue::from_static(APP)));
        assert_eq!(verdict(&pages, &[("origin", APP), ("sec-fetch-site", "cross-site")]), Ok(app));
        for origin in [
            "null",
            "",
            "*",
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.",
            "https://app.example/",
            "https://APP.example",
            "https://app.example.evil.example",
            "https://app.example, https://evil.example",
        ] {
            assert_eq!(verdict(&pages, &[("origin", origin)]), Err(Failure::CrossSite), "{origin}");
            let default = Pages::default();
            assert_eq!(verdict(&default, &[("origin", origin)]), Err(Failure::CrossSite));
        }
        let twice = [("origin", APP), ("origin", APP)];
        assert_eq!(verdict(&pages, &twice), Err(Failure::CrossSite));
        assert_eq!(verdict(&pages, &[("sec-fetch-site", "cross-site")]), Err(Failure::CrossSite));
        assert_eq!(verdict(&pages, &[]), Ok(Page::None));
    }

    #[test]
    fn a_required_field_is_required_of_all_but_a_preflight_that_a_listed_origin_sends() {
        let pages = pages(Some("x-mine"));
        let ask = ("access-control-request-method", "PUT");
        assert_eq!(verdict(&pages, &[]), Err(Failure::HeaderRequired));
        assert_eq!(verdict(&pages, &[("x_mine", "1")]), Err(Failure::HeaderRequired));
        assert_eq!(verdict(&pages, &[("origin", APP)]), Err(Failure::HeaderRequired));
        assert_eq!(verdict(&pages, &[ask]), Err(Failure::HeaderRequired));
        assert_eq!(verdict(&pages, &[("x-mine", "")]), Ok(Page::None));
        assert!(verdict(&pages, &[("origin", APP), ask]).is_ok());
        assert!(verdict(&pages, &[("origin", APP), ("x-mine", "1")]).is_ok());
    }

    #[test]
    fn what_is_between_the_caller_and_us_stays_here() {
        let pages = pages(Some("x-mine"));
        let page = Page::Listed(Box::new(HeaderValue::from_static(APP)));
        let mut fields =
            map(&[("x-mine", "1"), ("x-mine", "2"), ("x_mine", "3"), ("origin", APP), ("a", "4")]);
        pages.withhold(&page, &mut fields);
        assert_eq!(fields, map(&[("a", "4")]));
    }

    #[test]
    fn an_answer_names_the_listed_origin_alone_and_no_other_page_is_told_anything() {
        let tell = |pages: &Pages, page| {
            let mut fields = map(&[("vary", "accept")]);
            pages.tell(&page, &mut fields);
            fields
        };
        let mine = pages(None);
        let vary = [("vary", "accept"), ("vary", "origin")];
        let told = map(&[
            &vary[..],
            &[("access-control-allow-origin", APP), ("access-control-expose-headers", "*")],
        ]
        .concat());
        assert_eq!(tell(&mine, Page::Listed(Box::new(HeaderValue::from_static(APP)))), told);
        for page in [Page::None, Page::Foreign] {
            assert_eq!(tell(&mine, page.clone()), map(&vary));
            assert_eq!(tell(&Pages::default(), page), map(&vary[..1]));
        }
    }

    #[test]
    fn a_preflight_is_allowed_what_it_asks_for() {
        let asking = map(&[
            ("access-control-request-method", "PATCH"),
            ("access-control-request-headers", "content-type,x-mine"),
            ("access-control-request-private-network", "true"),
            ("cookie", "a"),
        ]);
        let allowed = map(&[
            ("access-control-allow-methods", "PATCH"),
            ("access-control-allow-headers", "content-type,x-mine"),
            ("access-control-allow-private-network", "true"),
            ("access-control-max-age", "600"),
            ("vary", "access-control-request-method"),
            ("vary", "access-control-request-headers"),
        ]);
        assert_eq!(preflight(&asking), Ok(allowed));
        for (method, failure) in
            [("TRACE", Failure::MethodRefused), ("CONNECT", Failure::MethodRefused)]
        {
            assert_eq!(preflight(&map(&[("access-control-request-method", method)])), Err(failure));
        }
        let names = ("access-control-request-headers", "x y");
        for wrong in [
            &[("access-control-request-method", "G T")][..],
            &[("access-control-request-method", "GET"), ("access-control-request-method", "GET")],
            &[("access-control-request-method", "GET"), names],
        ] {
            assert!(matches!(preflight(&map(wrong)), Err(Failure::BadRequest(_))), "{wrong:?}");
        }
    }
}
