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
pub fn request(oauth: &OAuth, id: &str, secret: &SecretString) -> TokenRequest {
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
            Some(basic(&encode(id), &encode(secret.expose_secret())))
        }
        ClientAuth::Body
        | ClientAuth::ClientSecretJwt
        | ClientAuth::PrivateKeyJwt
        | ClientAuth::TlsClientAuth => {
            form.append_pair("client_id", id);
            form.append_pair("client_secret", secret.expose_secret());
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
    use super::*;
    use crate::config::{Sources, load};

    fn oauth(client_auth: &str) -> OAuth {
        let env = [
            ("GENESYS_CLIENT_ID", "an:id"),
            ("GENESYS_CLIENT_SECRET", "s e+c/ret"),
            ("GENESYS_PROXY__OAUTH__CLIENT_AUTH", client_auth),
            ("GENESYS_PROXY__OAUTH__EXTRA_PARAMS", "{ audience = 'a&b' }"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        load(&Sources { env, dir: "/nonexistent".into(), ..Sources::default() }).unwrap().oauth
    }

    #[test]
    fn basic_form_encodes_id_and_secret_before_the_colon_joins_them() {
        let request = request(&oauth("basic"), "an:id", &"s e+c/ret".into());
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
        let mut oauth = oauth("body");
        oauth.scope = vec!["one".to_owned(), "two".to_owned()];
        let request = request(&oauth, "an:id", &"s e+c/ret".into());
        assert!(request.authorization.is_none());
        assert_eq!(
            request.form.expose_secret(),
            "grant_type=client_credentials&scope=one+two&audience=a%26b\
             &client_id=an%3Aid&client_secret=s+e%2Bc%2Fret"
        );
    }
}
