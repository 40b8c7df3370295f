//! Rules: any text is one or is not, what a rule grants it would deny as well, and of several each
//! counts as it does alone.
#![no_main]

use genesys_proxy::decide::access::{Rule, denying, speaking};
use http::Method;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Vec<&str>, &str, &str)| {
    let (texts, method, path) = input;
    let rules: Vec<Rule> = texts.iter().take(8).filter_map(|text| Rule::parse(text).ok()).collect();
    let Ok(method) = Method::from_bytes(method.as_bytes()) else { return };
    let spoken = speaking(rules.iter(), &method, path);
    assert_eq!(denying(&rules, &method, path).is_some(), !spoken.is_empty());
    for (rule, number) in rules.iter().zip(0..) {
        if rule.speaks_of(&method, path) {
            assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"%;\\?#".contains(&byte)));
            assert!(spoken.contains(&number), "{path} is granted and not denied by {rule:?}");
        }
        let alone = denying(std::slice::from_ref(rule), &method, path).is_some();
        // Together they may take longer than there is time for, and then all speak of it.
        assert!(!alone || spoken.contains(&number), "{path}: {rule:?} counts alone only");
    }
});
