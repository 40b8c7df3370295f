//! What one caller may do: its allow and deny rules, and what of it is only noted.
//! It never grants by a path that two servers could read in two ways, and denies by any reading.

use http::Method;

use super::access::{Rule, denying};

/// Calls that read and change nothing, as Genesys Cloud's API has them: every GET, and the POSTs
/// that are questions too long for a query.
const READS: [&str; 7] = [
    "GET /**",
    "POST /api/v2/analytics/*/*/query",
    "POST /api/v2/analytics/*/*/*/query",
    "POST /api/v2/analytics/*/details/jobs",
    "POST /api/v2/search",
    "POST /api/v2/search/suggest",
    "POST /api/v2/*/search",
];
/// A read that hands out a client's secret is no mere read.
const SECRET_READS: [&str; 1] = ["GET /api/v2/oauth/clients/**"];

/// The rules of one caller. Without any, everything is its to call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
    read_only: bool,
    /// What the rules refuse is noted and goes on.
    pub observe: bool,
    reads: Vec<Rule>,
}

/// Why a caller may not make a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused<'p> {
    /// This rule of `deny` speaks of it, in some reading of its path.
    Denied(&'p Rule),
    /// There is an `allow`, and no rule of it speaks of this call.
    NotAllowed,
    /// `read_only`, and it may change something.
    NotARead,
}

impl Policy {
    /// Of a caller's `allow`, `deny`, `read_only` and `observe`.
    pub fn new(allow: Vec<Rule>, mut deny: Vec<Rule>, read_only: bool, observe: bool) -> Self {
        let mut reads = Vec::new();
        if read_only {
            let rules = |rules: &[&str]| -> Vec<Rule> {
                rules.iter().filter_map(|rule| Rule::parse(rule).ok()).collect()
            };
            reads = rules(&READS);
            deny.extend(rules(&SECRET_READS));
        }
        Self { allow, deny, read_only, observe, reads }
    }

    /// Nothing is ever refused.
    pub fn is_empty(&self) -> bool {
        self.allow.is_empty() && self.deny.is_empty() && !self.read_only
    }

    /// Whether its caller may make this call. A denial counts before a grant.
    ///
    /// # Errors
    /// With what speaks against it.
    pub fn judge(&self, method: &Method, path: &str) -> Result<(), Refused<'_>> {
        if let Some(rule) = denying(&self.deny, method, path) {
            return Err(Refused::Denied(rule));
        }
        let granted = |rules: &[Rule]| rules.iter().any(|rule| rule.speaks_of(method, path));
        if !self.allow.is_empty() && !granted(&self.allow) {
            return Err(Refused::NotAllowed);
        }
        if self.read_only && !granted(&self.reads) {
            return Err(Refused::NotARead);
        }
        Ok(())
    }

    /// The same for a call that asks for a `WebSocket` besides: what is said on one is no mere read, and
    /// no rule sees it.
    ///
    /// # Errors
    /// With what speaks against it.
    pub fn judge_tunnel(&self) -> Result<(), Refused<'_>> {
        if self.read_only { Err(Refused::NotARead) } else { Ok(()) }
    }
}

/// As logs name it: the rule itself, or the key that has none for the call.
impl std::fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Denied(rule) => write!(f, "deny {rule}"),
            Self::NotAllowed => f.write_str("allow"),
            Self::NotARead => f.write_str("read_only"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(rules: &[&str]) -> Vec<Rule> {
        rules.iter().map(|rule| Rule::parse(rule).unwrap()).collect()
    }

    fn verdict(policy: &Policy, method: &str, path: &str) -> String {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        policy.judge(&method, path).map_or_else(|refused| refused.to_string(), |()| "yes".into())
    }

    #[test]
    fn without_rules_everything_is_allowed() {
        assert!(Policy::default().is_empty());
        assert_eq!(verdict(&Policy::default(), "DELETE", "/a/%2e%2e/b"), "yes");
    }

    #[test]
    fn what_no_rule_of_allow_speaks_of_is_refused_and_so_is_an_odd_path() {
        let policy = Policy::new(rules(&["GET /api/v2/users/**"]), Vec::new(), false, false);
        assert_eq!(verdict(&policy, "GET", "/api/v2/users/me"), "yes");
        assert_eq!(verdict(&policy, "HEAD", "/api/v2/users/me"), "yes");
        for (method, path) in [
            ("POST", "/api/v2/users/me"),
            ("GET", "/api/v2/user"),
            ("GET", "/api/v2/users/%2e%2e/oauth/clients"),
            ("GET", "/api/v2/users/../oauth/clients"),
            ("GET", "/api/v2/users/a%2fb"),
        ] {
            assert_eq!(verdict(&policy, method, path), "allow", "{method} {path}");
        }
    }

    #[test]
    fn a_denial_counts_before_a_grant_and_names_its_rule() {
        let deny = rules(&["DELETE /api/v2/**", "GET,PUT /api/v2/users/*/secret"]);
        let policy = Policy::new(rules(&["/api/v2/**"]), deny, false, false);
        assert_eq!(verdict(&policy, "GET", "/api/v2/users/me"), "yes");
        assert_eq!(verdict(&policy, "DELETE", "/api/v2/a"), "deny DELETE /api/v2/**");
        let named = "deny GET,PUT /api/v2/users/*/secret";
        assert_eq!(verdict(&policy, "PUT", "/api/v2/users/7/secret"), named);
        assert_eq!(verdict(&policy, "GET", "/api/v2/users/7/x%2f..%2fsecret"), named);
    }

    #[test]
    fn who_may_only_read_may_ask_long_questions_and_sees_no_secrets() {
        let policy = Policy::new(Vec::new(), Vec::new(), true, false);
        for (method, path) in [
            ("GET", "/api/v2/organizations/me"),
            ("HEAD", "/api/v2/routing/queues/7"),
            ("POST", "/api/v2/analytics/conversations/details/query"),
            ("POST", "/api/v2/analytics/queues/observations/query"),
            ("POST", "/api/v2/users/search"),
        ] {
            assert_eq!(verdict(&policy, method, path), "yes", "{method} {path}");
        }
        for (method, path) in [
            ("POST", "/api/v2/routing/queues"),
            ("PUT", "/api/v2/routing/queues/7"),
            ("PATCH", "/api/v2/users/7"),
            ("DELETE", "/api/v2/users/7"),
            ("OPTIONS", "/api/v2/users/7"),
            ("POST", "/api/v2/users/search/../7"),
            ("PROPFIND", "/api/v2/users"),
        ] {
            assert_eq!(verdict(&policy, method, path), "read_only", "{method} {path}");
        }
        let secret = verdict(&policy, "GET", "/api/v2/oauth/clients/7");
        assert_eq!(secret, "deny GET /api/v2/oauth/clients/**");
    }

    #[test]
    fn who_may_only_read_gets_no_tunnel_and_others_do() {
        let policy = Policy::new(Vec::new(), Vec::new(), true, false);
        assert_eq!(policy.judge_tunnel(), Err(Refused::NotARead));
        let policy = Policy::new(rules(&["GET /**"]), rules(&["POST /**"]), false, false);
        assert_eq!(policy.judge_tunnel(), Ok(()));
    }

    #[test]
    fn an_allow_list_and_read_only_must_both_grant() {
        let policy = Policy::new(rules(&["/api/v2/users/**"]), Vec::new(), true, false);
        assert_eq!(verdict(&policy, "GET", "/api/v2/users/7"), "yes");
        assert_eq!(verdict(&policy, "PUT", "/api/v2/users/7"), "read_only");
        assert_eq!(verdict(&policy, "GET", "/api/v2/groups"), "allow");
    }

    #[test]
    fn the_rules_of_read_only_can_be_read() {
        for rule in READS.iter().chain(&SECRET_READS) {
            assert_eq!(Rule::parse(rule).unwrap().to_string(), *rule);
        }
    }
}
