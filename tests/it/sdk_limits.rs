//! Four hundred calls at once of Genesys's own SDKs, over the limit: Python's, which come back by
//! themselves, all succeed; JavaScript's, which hang up after 16 s, meet no silence and no lie.
//!
//! The limit is Genesys's in small: 80 calls in 6 s instead of 300 in a minute. What lies within the
//! gateway's `max_wait`, its default of 12 s, is waited for there; the rest is told when to come.

use std::{collections::BTreeMap, time::Duration};

use genesys_proxy::simulator::{Counters, Options};
use tokio::net::TcpListener;

use crate::support::{Sdk, World, load::sha256};

/// Of each SDK.
const CALLS: usize = 400;
const WINDOW: Duration = Duration::from_secs(6);

/// The SDK's default, which nothing here changes: `urllib3.Retry()` for all methods, so up to ten
/// more tries after a 413, 429 or 503 with a Retry-After, each after exactly the time told.
const PYTHON: (&str, &str) = ("limits", "four hundred at once all succeed");
/// The SDK's default, which nothing here changes: 16 s for a call, no second try.
const JAVASCRIPT: (&str, &str) =
    ("limits", "four hundred at once, and who is refused is served when it comes back as told");

/// A world with this limit at Genesys and in the gateway, all else as it is by default.
async fn limited(calls: u32, callers: &str) -> World {
    let options = Options { requests_per_minute: calls, window: WINDOW, ..Options::default() };
    let limit = format!("[rate_limit]\nrequests_per_minute = {calls}\nwindow = \"6s\"\n{callers}");
    World::with(options, &limit).await
}

/// A line of the access log.
#[derive(Debug)]
struct Line {
    at: String,
    caller: String,
    status: u16,
    request: String,
}

impl Line {
    fn of(line: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let valued = |name: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(name));
            found.unwrap_or_else(|| panic!("no {name}: {line}")).to_owned()
        };
        Self {
            at: words[0].to_owned(),
            caller: valued("caller="),
            status: words[5].parse().unwrap(),
            request: valued("request_id="),
        }
    }
}

/// What the simulator and the whole access log say, oldest line first.
fn ended(world: World) -> (Counters, Vec<Line>) {
    let seen = world.genesys.counters();
    let mut gateway = world.gateway;
    gateway.signal("TERM");
    assert!(gateway.wait().success());
    let log = gateway.log_at_end();
    let mut lines: Vec<Line> =
        log.lines().filter(|line| line.contains(" access ")).map(Line::of).collect();
    lines.sort_by(|one, other| one.at.cmp(&other.at));
    (seen, lines)
}

/// Nothing was answered but 200 and 429; all calls of these SDKs succeeded, and none was refused
/// twice: who came back at the second it was told was served. How many were refused.
fn assert_all_served(lines: &[Line], sdks: &[&str]) -> usize {
    let mut answers: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for line in lines {
        answers.entry(&line.request).or_default().push(line.status);
    }
    let expected = sdks.iter().flat_map(|sdk| (0..CALLS).map(move |n| format!("{sdk}-{n}")));
    let mut expected: Vec<String> = expected.collect();
    expected.sort();
    assert!(answers.keys().eq(&expected), "not exactly these callers: {:?}", answers.keys());
    let (at_once, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|(_, answers)| *answers == [200]);
    let broken: Vec<_> = refused.iter().filter(|(_, answers)| *answers != [429, 200]).collect();
    assert!(broken.is_empty(), "{} of {}: {broken:?}", broken.len(), refused.len());
    println!("{} served in line, {} when they came back", at_once.len(), refused.len());
    refused.len()
}

/// Genesys got each call once, and never had to say no.
fn assert_within_the_limit(seen: &Counters, calls: usize) {
    assert_eq!((seen.requests, seen.rate_limited), (calls as u64, 0));
}

/// One SDK alone: the last of its calls leaves 24 s after the first, twice `max_wait`.
async fn four_hundred_at_once(sdk: Sdk, name: &str, job: (&str, &str)) {
    let world = limited(80, "").await;
    sdk.runs(job, &world, &[]).await;
    let (seen, lines) = ended(world);
    assert_within_the_limit(&seen, CALLS);
    let refused = assert_all_served(&lines, &[name]);
    // Two windows begin within 12 s, and a third a moment later.
    assert!((160..=240).contains(&refused), "{refused} refused");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_pythons_calls_succeed_by_its_own_retries() {
    four_hundred_at_once(Sdk::Python, "python", PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascripts_calls_meet_no_timeout_and_every_429_says_truly_when_to_come() {
    four_hundred_at_once(Sdk::JavaScript, "javascript", JAVASCRIPT).await;
}

/// Hangs up when so many are waiting.
async fn starting_line(runners: usize) -> (String, impl Future<Output = ()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (address, async move {
        let mut waiting = Vec::new();
        while waiting.len() < runners {
            waiting.push(listener.accept().await.unwrap());
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn both_at_once_are_two_callers_with_a_share_each() {
    let keys = [("python", "pYtHoN-5f2e90c1d7a83b46"), ("javascript", "jAvAsCrIpT-0a1b2c3d4e5f")];
    let callers = keys.map(|(name, key)| {
        let digest = sha256(key.as_bytes());
        format!("[[caller]]\nname = \"{name}\"\nkey_sha256 = \"{digest}\"\n")
    });
    let world = limited(160, &callers.concat()).await;
    let (line, start) = starting_line(2).await;
    let [python, javascript] = keys.map(|(_, key)| {
        [("GENESYS_API_KEY", key.to_owned()), ("GENESYS_TEST_START", line.clone())]
    });
    tokio::join!(
        start,
        Sdk::Python.runs(PYTHON, &world, &python),
        Sdk::JavaScript.runs(JAVASCRIPT, &world, &javascript),
    );
    let (seen, lines) = ended(world);
    assert_within_the_limit(&seen, 2 * CALLS);
    assert_all_served(&lines, &["python", "javascript"]);
    for line in &lines {
        assert!(line.request.starts_with(&format!("{}-", line.caller)), "{line:?}");
    }
    let served: Vec<&str> =
        lines.iter().filter(|line| line.status == 200).map(|line| &*line.caller).collect();
    // The first window's places go to whoever comes first. In the next two nobody has had all yet.
    let python = served[160..480].iter().filter(|caller| **caller == "python").count();
    assert!((144..=176).contains(&python), "{python} of 320 were python's");
}
