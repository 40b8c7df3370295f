//! How a token request proves who it is from (RFC 6749 section 2.3.1).
//! It never puts a secret where a log could find it: form and header are typed as secrets.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;

use crate::config::{ClientAuth, OAuth};

/// The parts of a token request that depend on the way of authentication.
pub struct TokenRequest {
    /// `Authorization`, marked sensitive, when the way of authentication uses it.
    pub authorization: Option<HeaderValue>,
    /// The form body.
    pub form: SecretString,
}

/// The client-credentials request of RFC 6749 section 4.4.2.
pub fn request(oauth: &OAuth) -> TokenRequest {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials");
    if !oauth.scope.is_empty() {
        form.append_pair("scope", &oauth.scope.join(" "));
    }
    for (name, value) in &oauth.extra_params {
        form.append_pair(name, value);
    }
    let authorization = match oauth.client_auth {
        ClientAuth::Basic => {
            // Form-encoded first, as RFC 6749 wants it: ids and secrets may hold a colon.
            let id = encode(&oauth.client_id);
            let secret = encode(oauth.client_secret.expose_secret());
            Some(basic(&id, &secret))
        }
        ClientAuth::Body => {
            form.append_pair("client_id", &oauth.client_id);
            form.append_pair("client_secret", oauth.client_secret.expose_secret());
            None
        }
    };
    TokenRequest { authorization, form: form.finish().into() }
}

fn basic(id: &str, secret: &str) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{id}:{secret}"));
    let mut value =
        HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 is visible ASCII");
    value.set_sensitive(true);
    value
}

fn encode(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::CredentialSource;

    fn oauth(client_auth: ClientAuth, scope: &[&str]) -> OAuth {
        OAuth {
            client_id: "an:id".to_owned(),
            client_id_source: CredentialSource::Literal,
            client_secret: "s e+c/ret".into(),
            client_secret_source: CredentialSource::Literal,
            token_url: "https://login.example/oauth/token".parse().unwrap(),
            timeout: Duration::from_secs(10),
            client_auth,
            scope: scope.iter().map(ToString::to_string).collect(),
            extra_params: [("audience".to_owned(), "a&b".to_owned())].into(),
            refresh_before: Duration::from_secs(300),
        }
    }

    #[test]
    fn basic_form_encodes_id_and_secret_before_the_colon_joins_them() {
        let request = request(&oauth(ClientAuth::Basic, &[]));
        let header = request.authorization.unwrap();
        assert!(header.is_sensitive());
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let decoded = STANDARD.decode(encoded).unwrap();
        assert_eq!(decoded, b"an%3Aid:s+e%2Bc%2Fret");
        assert_eq!(
            request.form.expose_secret(),
            "grant_type=client_credentials&audience=a%26b",
            "no empty scope"
        );
    }

    #[test]
    fn body_puts_id_and_secret_into_the_form() {
        let request = request(&oauth(ClientAuth::Body, &["one", "two"]));
        assert!(request.authorization.is_none());
        assert_eq!(
            request.form.expose_secret(),
            "grant_type=client_credentials&scope=one+two&audience=a%26b\
             &client_id=an%3Aid&client_secret=s+e%2Bc%2Fret"
        );
    }
}
