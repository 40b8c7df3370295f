//! What is read out of certificates, and whom none is shown.

use std::{
    net::Ipv4Addr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd, string::Ia5String};
use rustls::server::{ClientHello, ResolvesServerCert};
use tokio::{net::TcpListener, task::yield_now};

use super::{super::handshakes::Handshakes, *};

fn names_of(prepare: impl Fn(&mut CertificateParams)) -> Vec<CertName> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    prepare(&mut params);
    let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    names_in(certificate.der())
}

#[test]
fn a_certificate_has_the_names_of_its_subject_and_the_alternative_ones() {
    let ia5 = |text: &str| Ia5String::try_from(text.to_owned()).unwrap();
    let names = names_of(|params| {
        params.distinguished_name.push(DnType::OrganizationName, "CN=other");
        params.distinguished_name.push(DnType::CommonName, "billing");
        params.subject_alt_names = vec![
            SanType::DnsName(ia5("Billing.Internal")),
            SanType::Rfc822Name(ia5("billing@internal")),
            SanType::URI(ia5("spiffe://internal/billing")),
        ];
    });
    let expected = ["CN=billing", "DNS:billing.internal", "URI:spiffe://internal/billing"];
    assert_eq!(names.iter().map(ToString::to_string).collect::<Vec<_>>(), expected);
}

#[test]
fn a_name_that_only_looks_like_a_callers_is_not_it() {
    let ia5 = |text: &str| Ia5String::try_from(text.to_owned()).unwrap();
    for like in ["billing\0.evil.example", "billing, CN=billing", "Billing", "billing ", "b*", "*"]
    {
        let names = names_of(|params| {
            params.distinguished_name.push(DnType::CommonName, like);
            params.distinguished_name.push(DnType::OrganizationalUnitName, "billing");
            let dns = SanType::DnsName(ia5(&format!("{}.internal", like.trim())));
            params.subject_alt_names = vec![dns, SanType::Rfc822Name(ia5("billing"))];
        });
        assert!(!names.contains(&CertName::CommonName("billing".to_owned())), "{names:?}");
        // But for its case, which names of hosts do not have.
        let same = names.contains(&CertName::Dns("billing.internal".to_owned()));
        assert_eq!(same, like.trim().eq_ignore_ascii_case("billing"), "{names:?}");
    }
}

#[test]
fn what_is_no_certificate_has_no_name() {
    assert!(names_in(&CertificateDer::from(b"0\x03\x02\x01\x01".to_vec())).is_empty());
    assert!(names_in(&CertificateDer::from(Vec::new())).is_empty());
}

#[test]
fn a_certificate_out_of_its_time_is_told_of() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    let pem = params.self_signed(&key).unwrap().pem();
    let shown = Shown::parse(pem.as_bytes(), key.serialize_pem().as_bytes(), None).unwrap();
    let at = |year: u64| UNIX_EPOCH + Duration::from_secs((year - 1970) * 31_557_600 + 15_000_000);
    assert_eq!(untimely(&shown.pair, at(2020)), None);
    for (year, expected) in [(2019, "is not valid before Jan"), (2021, "expired on Jan")] {
        let wrong = untimely(&shown.pair, at(year)).unwrap();
        assert!(
            wrong.contains(expected) && wrong.contains("2020") | wrong.contains("2021"),
            "{wrong}"
        );
    }
}

/// Counts how often the certificate is asked for, which is before each signature.
#[derive(Debug)]
struct Counting(SingleCertAndKey, AtomicUsize);

impl ResolvesServerCert for Counting {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.resolve(hello)
    }
}

fn counting() -> (Edge, Arc<Counting>) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key);
    let pem = cert.unwrap().pem();
    let shown = Shown::parse(pem.as_bytes(), key.serialize_pem().as_bytes(), None).unwrap();
    let pair = SingleCertAndKey::from(Arc::clone(&shown.pair));
    let counting = Arc::new(Counting(pair, AtomicUsize::default()));
    let mut config = ServerConfig::clone(&server(&shown).unwrap());
    config.cert_resolver = Arc::<Counting>::clone(&counting);
    (Edge(ArcSwap::from_pointee(config)), counting)
}

/// What a caller begins with.
fn hello() -> Vec<u8> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let mut client = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let mut hello = Vec::new();
    client.write_tls(&mut hello).unwrap();
    hello
}

#[tokio::test]
async fn who_has_left_when_its_turn_comes_costs_no_signature() {
    let patience = Duration::from_secs(10);
    let (listener, hello) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap(), hello());
    let pair = async || {
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        (client.unwrap(), accepted.unwrap().0)
    };
    for (leaves, signatures) in [(true, 0), (false, 1)] {
        let (edge, counting) = counting();
        let handshakes = Arc::<Handshakes>::default();
        let line = |last| handshakes.line(Ipv4Addr::new(10, 0, 0, last).into());
        let (first, second) = (line(1), line(2));
        let (mut client, stream) = pair().await;
        let stream = stream.into_std().unwrap();
        // The loop hears the same of both at once.
        let same = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let stream = TcpStream::from_std(stream).unwrap();
        client.write_all(&hello).await.unwrap();
        stream.readable().await.unwrap();
        {
            let mut handshake = pin!(edge.accept(stream, patience, &second));
            {
                // It has the turn until it is dropped: it is polled once.
                let mut busy = pin!(first.run(std::future::pending::<()>()));
                poll_fn(|cx| Poll::Ready(busy.as_mut().poll(cx).is_pending())).await;
                poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx).is_pending())).await;
                if leaves {
                    client.shutdown().await.unwrap();
                    while !same.ready(Interest::READABLE).await.unwrap().is_read_closed() {
                        yield_now().await;
                    }
                }
                assert_eq!(counting.1.load(Ordering::Relaxed), 0, "it waits");
            }
            if leaves {
                let left = handshake.await.err();
                assert!(matches!(left, Some(NoHandshake::Left)), "{left:?}");
            } else {
                while counting.1.load(Ordering::Relaxed) == 0 {
                    assert!(
                        poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx).is_pending())).await
                    );
                    yield_now().await;
                }
            }
        }
        assert_eq!(counting.1.load(Ordering::Relaxed), signatures);
    }
}
