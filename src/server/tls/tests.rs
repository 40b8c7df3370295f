//! What is read out of certificates.

use std::time::Duration;

use rcgen::{CertificateParams, DnType, KeyPair, SanType, date_time_ymd, string::Ia5String};

use super::*;

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
