//! What is counted, and how it is shown.

use super::*;

#[test]
fn the_page_tells_tokens_mints_checks_secrets_skew_retries_and_savings() {
    let metrics = Metrics::default();
    let of = OfToken { client: "an-id".to_owned(), token: 0 };
    metrics.minted(&of, MintOutcome::minted);
    metrics.minted(&of, MintOutcome::minted);
    metrics.verified(&of, CheckOutcome::inactive);
    metrics.token(&of, 86_399.5, 2);
    metrics.live_secret("an-id", true);
    metrics.skew("an-id", -2);
    metrics.retried(Reason::Unavailable);
    metrics.retry_refused(Reason::Broken);
    metrics.saved(SavedBy::cached);
    metrics.line([4, 5], [("kept", 6), ("broken", 1), ("open", 2)]);
    metrics.kept(3, 4096);
    metrics.connection_refused("address");
    metrics.handshake_failed();
    let eu = metrics.of_organisation("eu");
    eu.minted(&of, MintOutcome::minted);
    eu.line([9, 0], [("kept", 0), ("broken", 0), ("open", 0)]);
    metrics.audit(true, [7, 8, 9]);
    metrics.tls_reload(true);
    metrics.tls_not_after(1_800_000_000);
    let page = metrics.render();
    for line in [
        "genesys_proxy_token_mints_total{client=\"an-id\",token=\"0\",outcome=\"minted\"} 2",
        "genesys_proxy_token_verifications_total{client=\"an-id\",token=\"0\",outcome=\"inactive\"} 1",
        "genesys_proxy_token_expires_in_seconds{client=\"an-id\",token=\"0\"} 86399.5",
        "genesys_proxy_token_generation{client=\"an-id\",token=\"0\"} 2",
        "genesys_proxy_client_secret_live{client=\"an-id\",secret=\"client_secret\"} 0",
        "genesys_proxy_client_secret_live{client=\"an-id\",secret=\"next_client_secret\"} 1",
        "genesys_proxy_clock_skew_seconds{client=\"an-id\"} -2",
        "genesys_proxy_retries_total{reason=\"503\"} 1",
        "genesys_proxy_retries_refused_total{reason=\"broken\"} 1",
        "genesys_proxy_saved_calls_total{how=\"cached\"} 1",
        "genesys_proxy_kept_answers{} 3",
        "genesys_proxy_audit_failing 1",
        "genesys_proxy_audit_lost_calls 7",
        "genesys_proxy_audit_left_out_calls 8",
        "genesys_proxy_audit_free_places 9",
        "genesys_proxy_tls_reload_failing 1",
        "genesys_proxy_tls_certificate_not_after_seconds 1800000000",
        "genesys_proxy_calls_waiting{} 4",
        "genesys_proxy_calls_in_flight{} 5",
        "genesys_proxy_promises{state=\"kept\"} 6",
        "genesys_proxy_kept_answers_bytes{} 4096",
        "genesys_proxy_connections_refused_total{reason=\"address\"} 1",
        "genesys_proxy_tls_handshakes_failed_total 1",
        "genesys_proxy_token_mints_total{org=\"eu\",client=\"an-id\",token=\"0\",outcome=\"minted\"} 1",
        "genesys_proxy_calls_waiting{org=\"eu\"} 9",
        "# EOF",
    ] {
        assert!(page.lines().any(|of_page| of_page == line), "{line}\n{page}");
    }
}

#[test]
fn connections_are_counted_while_they_last() {
    let metrics = Metrics::default();
    let open = [metrics.process.connection(), metrics.process.connection()];
    assert!(metrics.render().contains("genesys_proxy_connections_open 2\n"));
    drop(open);
    let page = metrics.render();
    assert!(page.contains("genesys_proxy_connections_open 0\n"), "{page}");
}

#[test]
fn a_budget_without_a_limit_has_a_pause_and_nothing_else() {
    let metrics = Metrics::default();
    let usage =
        |allowed| Usage { allowed, used: 7, paused: std::time::Duration::from_millis(1500) };
    metrics.budgets(&[usage(Some(300)), usage(None)]);
    let page = metrics.render();
    for (line, is) in [
        ("genesys_proxy_budget_allowed{token=\"0\"} 300\n", true),
        ("genesys_proxy_budget_used{token=\"0\"} 7\n", true),
        ("genesys_proxy_budget_paused_seconds{token=\"1\"} 1.5\n", true),
        ("genesys_proxy_budget_used{token=\"1\"}", false),
    ] {
        assert_eq!(page.contains(line), is, "{line}\n{page}");
    }
}
