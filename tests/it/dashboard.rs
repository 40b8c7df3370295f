//! The page at `/` of the admin listener, in a real browser; `tests/dashboard/look.py` looks at it.

use std::{path::PathBuf, process::Command};

use http::Method;
use serde_json::json;

use crate::support::{
    World, assert_all, at_once,
    callers::{caller, key, rate_limit, sent},
    gateway::ADMIN,
    load::sha256,
    tools::installed,
    unlimited,
};

const ECHO: &str = "/api/v2/echo";
const USERS: &str = "/api/v2/users/0f0f0f0f-1234";

/// Where pictures go: into the repository when somebody asks for it.
fn images(scratch: &tempfile::TempDir) -> PathBuf {
    std::env::var_os("GENESYS_PROXY_TEST_IMAGES")
        .map_or_else(|| scratch.path().to_owned(), PathBuf::from)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_see_who_uses_up_the_budget_and_can_hold_them() {
    let callers = caller("billing", "") + &caller("reports", "");
    // Nobody's turn comes while it is looked at.
    let limit = rate_limit(9, 540, "max_wait = \"10m\"");
    let toml = format!("{limit}\n[retry]\nattempts = 1\n{callers}");
    let digest = sha256(key("admin").as_bytes());
    let admin_key = ("GENESYS_PROXY__ADMIN_KEY_SHA256", digest.as_str());
    let world = World::with_env(unlimited(), &toml, &[ADMIN, admin_key]).await;
    let call =
        |name: &str, path: &str| world.request(Method::GET, path).header("x-api-key", key(name));
    world.faults(json!({"api": [{"status": 500, "times": 1}]}));
    assert_all(&at_once([call("billing", USERS)]).await, 500);
    assert_all(&at_once((0..6).map(|_| call("billing", ECHO))).await, 200);
    assert_all(&at_once((0..2).map(|_| call("reports", ECHO))).await, 200);
    let denied = world.request(Method::DELETE, "/api/v2/tokens/me");
    assert_all(&at_once([denied]).await, 403);
    let _waiting = sent(["billing", "billing", "reports"].map(|name| call(name, ECHO)));
    world.gateway.until_waiting(3).await;

    let scratch = tempfile::tempdir().unwrap();
    let python = installed("GENESYS_PROXY_TEST_DASHBOARD_PYTHON", "dashboard/python/bin/python");
    let modules =
        installed("GENESYS_PROXY_TEST_DASHBOARD_MODULES", "dashboard/javascript/node_modules");
    let mut look = Command::new("timeout");
    look.arg("300").arg(python).arg("tests/dashboard/look.py");
    look.current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("ADMIN", world.gateway.admin_url(""))
        .env("KEY", key("admin"))
        .env("AXE", modules.join("axe-core/axe.min.js"))
        .env("CHROMIUM", installed("GENESYS_PROXY_TEST_CHROMIUM", "/usr/bin/chromium"))
        .env("IMAGES", images(&scratch));
    let looked = tokio::task::spawn_blocking(move || look.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&looked.stdout) + String::from_utf8_lossy(&looked.stderr);
    assert!(looked.status.success(), "{said}");
}
