//! What `[tls]` accepts, and what is said about a bad one.
//! It never needs a file that it has not made.

use std::num::NonZeroUsize;

use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256,
};

use super::World;
use crate::config::{CertName, PerAddress};

/// A certificate and its key.
fn pair() -> (String, String) {
    pair_of(&KeyPair::generate().unwrap())
}

fn pair_of(key: &KeyPair) -> (String, String) {
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(key).unwrap().pem(), key.serialize_pem())
}

/// `one.pem` and `one.key` go together; `other.key` is another's.
fn world() -> World {
    let (one, other) = (pair(), pair());
    World::new()
        .file("one.pem", &one.0)
        .file("one.key", &one.1)
        .file("other.key", &other.1)
        .file("empty", "nothing")
        .file("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
}

#[test]
fn a_pair_and_an_authority_are_found_beside_the_file() {
    let world = world();
    let config =
        world.toml("[tls]\ncert = 'one.pem'\nkey = 'one.key'\nclient_ca = 'one.pem'").config();
    let tls = config.tls.unwrap();
    assert!(tls.cert.ends_with("one.pem") && tls.key.ends_with("one.key"));
    assert!(tls.client_ca.is_some());
    for none in ["", "[tls]\ncert = ''\nkey = ''\nclient_ca = ''"] {
        assert!(World::new().toml(none).config().tls.is_none());
    }
}

#[test]
fn each_kind_of_key_that_is_documented_can_be_used() {
    for kind in [&PKCS_RSA_SHA256, &PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519]
    {
        let (cert, key) = pair_of(&KeyPair::generate_for(kind).unwrap());
        let world = World::new().file("a.pem", &cert).file("a.key", &key);
        assert!(world.toml("[tls]\ncert = 'a.pem'\nkey = 'a.key'").config().tls.is_some());
    }
}

#[test]
fn a_file_of_tls_that_is_larger_than_any_is_not_read() {
    let (cert, key) = pair();
    let large = |text: &str| format!("{text}{}", "\n".repeat(64 << 10));
    for name in ["cert", "key", "client_ca"] {
        let of = |file: &str, text: &str| if file == name { large(text) } else { text.to_owned() };
        let world = World::new()
            .file("a.pem", &of("cert", &cert))
            .file("a.key", &of("key", &key))
            .file("ca.pem", &of("client_ca", &cert));
        let wrong =
            world.toml("[tls]\ncert = 'a.pem'\nkey = 'a.key'\nclient_ca = 'ca.pem'").wrong();
        assert!(
            wrong.contains(&format!("`tls.{name}`")) && wrong.contains("larger than any"),
            "{wrong}"
        );
    }
}

#[test]
fn every_problem_of_tls_has_its_line_and_its_hint() {
    let mut all = String::new();
    for toml in [
        "cert = 'one.pem'",
        "key = 'one.key'",
        "client_ca = 'one.pem'",
        "cert = 'one.pem'\nkey = 'other.key'",
        "cert = 'empty'\nkey = 'one.key'",
        "cert = 'broken.pem'\nkey = 'one.key'",
        "cert = 'one.pem'\nkey = 'one.pem'",
        "cert = 'one.pem'\nkey = 'one.key'\nclient_ca = 'empty'",
        "cert = 'one.pem'\nkey = 'one.key'\nclient_ca = 'broken.pem'",
        "cert = './missing'\nkey = '.'",
    ] {
        all += &world().toml(&format!("[tls]\n{toml}\n")).wrong();
    }
    insta::assert_snapshot!(all, @r#"
    2: `tls.cert` and `tls.key` go together
       write key = "/path", too, or remove cert
    2: `tls.key` and `tls.cert` go together
       write cert = "/path", too, or remove key
    2: `tls.client_ca` without `tls.cert`
       callers show certificates over TLS only: write cert and key, too
    3: `tls.key`: the key does not fit the certificate of `tls.cert`
       name the two files of one pair; in `tls.cert` the certificate itself comes first
    2: `tls.cert`: no certificate in this file
       it should be PEM: a block that starts with -----BEGIN CERTIFICATE-----
    2: `tls.cert`: the certificate cannot be used: invalid peer certificate: BadEncoding
       export it again, as PEM
    3: `tls.key`: no private key in this file
       it should be PEM that is not encrypted: -----BEGIN PRIVATE KEY-----
    4: `tls.client_ca`: no certificate in this file
       it should be PEM: a block that starts with -----BEGIN CERTIFICATE-----
    4: `tls.client_ca`: a certificate cannot be used: invalid peer certificate: BadEncoding
       it should hold the certificates of issuers, as PEM
    2: `tls.cert`: cannot read DIR/./missing: No such file or directory (os error 2)
       check the path and its permissions, as the user that runs the gateway
    3: `tls.key`: cannot read DIR/.: it is no regular file
       check the path and its permissions, as the user that runs the gateway
    "#);
}

#[test]
fn a_callers_certificate_is_named_by_kind_and_needs_an_authority() {
    const TLS: &str = "[tls]\ncert = 'one.pem'\nkey = 'one.key'\nclient_ca = 'one.pem'\n";
    let one = |name: &str| format!("[[caller]]\nname = 'a'\nclient_cert = '{name}'\n");
    for (written, expected) in [
        ("CN=billing jobs", CertName::CommonName("billing jobs".to_owned())),
        ("cn=Billing", CertName::CommonName("Billing".to_owned())),
        ("DNS:Billing.Internal", CertName::Dns("billing.internal".to_owned())),
        ("URI:spiffe://x/Billing", CertName::Uri("spiffe://x/Billing".to_owned())),
    ] {
        let config = world().toml(&format!("{TLS}{}", one(written))).config();
        assert_eq!(config.callers[0].certificates, [expected], "{written}");
    }
    let mut all = String::new();
    for toml in [
        one("CN=billing"),
        format!("{TLS}{}", one("billing")),
        format!("{TLS}{}", one("CN=")),
        format!("{TLS}{}", one("DNS:a b")),
        format!("{TLS}{}", one("DNS:*.internal")),
        format!("{TLS}{}[[caller]]\nname = 'b'\nclient_cert = 'cn=x'\n", one("CN=x")),
    ] {
        all += &world().toml(&toml).wrong();
    }
    insta::assert_snapshot!(all, @r#"
    3: `caller.client_cert` without `tls.client_ca`
       write client_ca = "/path" in [tls]: the authority that issued it
    7: `caller.client_cert` is not a name in a certificate
       write "CN=billing", "DNS:billing.internal" or "URI:spiffe://internal/billing"
    7: `caller.client_cert` is not a name in a certificate
       write "CN=billing", "DNS:billing.internal" or "URI:spiffe://internal/billing"
    7: `caller.client_cert` is not a name in a certificate
       write "CN=billing", "DNS:billing.internal" or "URI:spiffe://internal/billing"
    7: `caller.client_cert` takes no wildcard
       write the name as the certificate has it
    10: two callers have the certificate `CN=x`
       give each a certificate of its own
    "#);
}

#[test]
fn this_machine_is_held_to_a_limit_that_was_written() {
    let limit = |toml: &str| World::new().toml(toml).config().access.max_connections_per_address;
    let most = NonZeroUsize::new(1000);
    assert_eq!(limit(""), PerAddress { most, loopback: false });
    let key = "[access]\nmax_connections_per_address";
    assert_eq!(limit(&format!("{key} = 1000")), PerAddress { most, loopback: true });
    assert_eq!(limit(&format!("{key} = 0")), PerAddress { most: None, loopback: true });
}
