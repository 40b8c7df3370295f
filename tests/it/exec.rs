//! `genesys-proxy exec`: a command that calls Genesys Cloud and never sees the secret.
//! The gateway is there for it alone, and for as long as it runs.

use std::{
    ffi::OsStr,
    io::{Read as _, Write as _},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use reqwest::RequestBuilder;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{
    Answer, NO_LIMIT, Sdk,
    callers::caller,
    exec::{Company, Ended, Running, SECRET, outside, python, run},
    front::Authority,
    gateway::PATIENCE,
    terminal,
    world::client,
};

const ME: &str = "/api/v2/organizations/me";

/// Says its variables, and runs until stdin ends.
const WAITS: &str = "env; echo .; read line";

/// Calls once, with its key, and prints the status.
const CALLS: &str = "
import os, urllib.request
call = urllib.request.Request(os.environ['GENESYS_BASE_URL'] + '/api/v2/organizations/me')
call.add_header('X-Api-Key', os.environ['GENESYS_API_KEY'])
print(urllib.request.urlopen(call).status, flush=True)
";

/// Prints each signal that it gets, until stdin ends.
const LISTENS: &str = "
import os, select, signal
signals, heard = os.pipe()
os.set_blocking(heard, False)
signal.set_wakeup_fd(heard)
for name in 'HUP INT QUIT TERM USR1 USR2 WINCH'.split():
    which = getattr(signal, 'SIG' + name)
    if signal.getsignal(which) != signal.SIG_IGN:
        signal.signal(which, lambda *_: None)
print('ready', os.getppid(), flush=True)
while True:
    ready, _, _ = select.select([0, signals], [], [])
    if signals in ready:
        for which in os.read(signals, 64):
            print(signal.Signals(which).name, flush=True)
    if 0 in ready and not os.read(0, 1):
        break
";

/// No trace of the secret.
fn assert_clean(text: &str) {
    assert!(!text.contains(SECRET), "{text}");
}

async fn status(call: RequestBuilder) -> u16 {
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_finds_the_gateway_and_the_secret_is_nowhere_to_be_read() {
    let company = Company::new().await;
    // Its own environment, as it is told and as the system has it; then what is the gateway's.
    let script = "env; tr '\\0' '\\n' < /proc/self/environ; echo .
        for file in environ mem maps auxv; do
            (: < /proc/$PPID/$file) 2> /dev/null && echo $file is r''eadable
        done
        readlink /proc/$PPID/fd/0 > /dev/null && echo fd is r''eadable
        cat /proc/$PPID/cmdline";
    let given = [
        ("GENESYS_PROXY__TELEMETRY__LOG", "trace"),
        ("COPIED", SECRET),
        ("VAULT_TOKEN", "hvs.x"),
        ("CREDENTIALS_DIRECTORY", "/nowhere"),
        ("GENESYSCLOUD_OAUTHCLIENT_SECRET", SECRET),
        ("GENESYS_REGION", "eu-central-1"),
    ];
    let mut command = company.shell(&[], script);
    command.envs(given);
    let mut running = Running::start(command);
    let environment = running.environment();
    let value = |name: &str| environment.get(name).map_or("", String::as_str);
    let key = value("GENESYS_API_KEY").to_owned();
    assert_eq!(key.len(), 43, "32 random bytes");
    for name in ["GENESYS_CLIENT_SECRET", "GENESYSCLOUD_OAUTHCLIENT_SECRET"] {
        assert_eq!(value(name), key);
    }
    assert!(value("GENESYS_BASE_URL").starts_with("http://127.0.0.1:"));
    assert_eq!(value("GENESYS_REGION"), "eu-central-1");
    for gone in ["COPIED", "VAULT_TOKEN", "CREDENTIALS_DIRECTORY", "GENESYS_PROXY__TELEMETRY__LOG"]
    {
        assert!(!environment.contains_key(gone), "{gone}");
    }
    assert!(!environment.values().any(|value| value.contains(SECRET)));
    let Ended { code, stdout, stderr } = running.end();
    assert_eq!(code, Some(0));
    assert!(!stdout.contains("readable"), "{stdout}");
    assert!(stdout.contains("genesys-proxy\0exec") && !stdout.contains(&key), "{stdout}");
    assert_clean(&stdout);
    assert_clean(&stderr);
    assert!(!stderr.contains(&key), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_serves_who_has_the_key_and_nobody_else_whatever_the_configuration_says() {
    // Taken: the gateway could not listen there.
    let taken = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [listen, admin, eu] = taken.each_ref().map(|taken| taken.local_addr().unwrap());
    let ca = Authority::new();
    let (key, cert) = ca.issue("localhost");
    let files = [key, cert].map(|pem| {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), pem).unwrap();
        file
    });
    let [key, cert] = files.each_ref().map(|file| file.path().display());
    let others = caller("billing", "networks = [\"127.0.0.0/8\"]");
    let company = Company::with(&format!(
        "{NO_LIMIT}\n{others}\n[tls]\ncert = \"{cert}\"\nkey = \"{key}\"\n\
         [orgs.eu]\nlisten = [\"{eu}\"]\n[orgs.eu.upstream]\nregion = \"eu-west-1\"\n\
         [orgs.eu.oauth]\nclient_id = \"eu\"\nclient_secret = {{ env = \"EU\" }}"
    ))
    .await;
    let toml = std::fs::read_to_string(company.config()).unwrap();
    let listeners = format!("listen = [\"{listen}\"]\nadmin = \"{admin}\"\n");
    std::fs::write(company.config(), listeners + &toml).unwrap();
    let mut exec = company.shell(&[], WAITS);
    exec.env("EU", "of-another-organisation");
    let mut running = Running::start(exec);
    let environment = running.environment();
    assert!(!environment.contains_key("EU"));
    let (url, key) = (&environment["GENESYS_BASE_URL"], &environment["GENESYS_API_KEY"]);
    let (get, login) = (|| client().get(format!("{url}{ME}")), format!("{url}/oauth/token"));
    assert_eq!(status(get()).await, 401);
    assert_eq!(status(get().header("x-api-key", format!("{key}x"))).await, 401);
    assert_eq!(status(get().header("x-api-key", "tHe-kEy-of-billing-0a1b2c3d")).await, 401);
    assert_eq!(company.genesys.counters().requests, 0);
    assert_eq!(status(get().header("x-api-key", key)).await, 200);
    assert_eq!(status(get().basic_auth("exec", Some(key))).await, 200);
    let login = client()
        .post(login)
        .basic_auth(&environment["GENESYS_CLIENT_ID"], Some(&environment["GENESYS_CLIENT_SECRET"]))
        .form(&[("grant_type", "client_credentials")]);
    let login = Answer::of(login.send().await.unwrap()).await.json();
    let bearer = login["access_token"].as_str().unwrap();
    assert_eq!(status(get().bearer_auth(bearer)).await, 200);
    assert!(login["expires_in"].as_u64().unwrap() > 86_400, "as long as the command runs");
    assert_eq!(running.end().code, Some(1), "what `read` says at the end of stdin");
    assert!(client().get(format!("{url}{ME}")).send().await.is_err(), "it is over");
}

/// The gateway of all, and what it needs, is elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn the_shared_gateways_configuration_does_wherever_its_files_and_secrets_are_not() {
    let company = Company::with(&format!(
        "{NO_LIMIT}\n[access]\nmode = \"key\"\nrequire_header = \"X-Genesys-Proxy\"\n\
         [tls]\ncert = \"/no/such/cert\"\nkey = \"/no/such/key\"\n\
         [orgs.eu]\nhosts = [\"eu.internal\"]\n[orgs.eu.upstream]\nregion = \"eu-west-1\"\n\
         [orgs.eu.oauth]\nclient_id = \"eu\"\nclient_secret = {{ env = \"NOT_HERE\" }}"
    ))
    .await;
    let Ended { code, stdout, stderr } = run(company.python(&[], CALLS));
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "200\n", ""));
}

/// Unmodified, with nothing but its environment.
async fn calls(sdk: Sdk) {
    let company = Company::new().await;
    for test in ["a program that logs in", "a program that shows its key"] {
        sdk.runs_below(("child", test), company.exec(&[])).await;
    }
    assert_eq!(company.genesys.counters().requests, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn python_calls_with_what_its_environment_says() {
    calls(Sdk::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_calls_with_what_its_environment_says() {
    calls(Sdk::JavaScript).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_variables_are_enough_and_stdout_is_the_commands_alone() {
    let company = Company::new().await;
    let mut exec = outside(&[OsStr::new(env!("CARGO_BIN_EXE_genesys-proxy")), OsStr::new("exec")]);
    exec.env("GENESYS_PROXY__UPSTREAM__API_URL", format!("http://{}", company.genesys.addr()));
    let nowhere = tempfile::tempdir().unwrap();
    exec.current_dir(nowhere.path());
    exec.arg(python()).args(["-c", CALLS, "--log", "trace"]);
    let Ended { code, stdout, stderr } = run(exec);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (Some(0), "200\n", ""));
    let said = run(company.python(&["--log", "info", "--log-format", "json"], CALLS));
    assert!(said.stderr.lines().all(|line| line.starts_with('{')), "{}", said.stderr);
    assert!(said.stderr.contains("drained") && !said.stderr.contains("access"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_is_the_commands_or_says_what_kept_it_from_running() {
    let company = Company::new().await;
    for (script, code) in
        [("exit 0", 0), ("exit 7", 7), ("kill -s TERM $$", 128 + 15), ("kill -s KILL $$", 128 + 9)]
    {
        assert_eq!(run(company.shell(&[], script)).code, Some(code), "{script}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_permissions(PermissionsExt::from_mode(0o644)).unwrap();
    let binary = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&binary, [0; 64]).unwrap();
    std::fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    for (command, code, says) in [
        (Path::new("no-such-command-5f2e"), 127, "there is no command no-such-command-5f2e"),
        (Path::new("/no/such/command"), 127, "check its spelling"),
        (file.path(), 126, "cannot be executed"),
        (binary.as_ref(), 126, "cannot be executed"),
        (&std::env::temp_dir(), 126, "cannot be executed"),
    ] {
        let mut exec = company.exec(&[]);
        exec.arg(command);
        let ended = run(exec);
        assert_eq!(ended.code, Some(code), "{command:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_gateway_the_command_does_not_run() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("ran");
    let script = format!("touch {}", trace.display());
    let company = Company::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let busy = run(company.shell(&["--admin", &taken], &script));
    assert_eq!(busy.code, Some(69), "{}", busy.stderr);
    assert!(busy.stderr.contains(&taken));
    let typo = run(company.shell(&["--no-such-thing"], &script));
    assert_eq!(typo.code, Some(2));
    assert_eq!(run(company.exec(&[])).code, Some(2), "no command");
    std::fs::write(company.config(), "lisen = []\n").unwrap();
    let wrong = run(company.shell(&[], &script));
    assert_eq!(wrong.code, Some(78));
    assert!(wrong.stderr.contains("lisen"), "{}", wrong.stderr);
    assert_clean(&wrong.stderr);
    assert!(!trace.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_the_command_does_not_run_and_why_is_told_as_token_tells_it() {
    let company = Company::new().await;
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("ran");
    let script = format!("touch {}", trace.display());
    let with = |env: &[(&str, &str)]| {
        let mut exec = company.shell(&["--log", "off"], &script);
        exec.envs(env.iter().copied());
        run(exec)
    };
    let faults = |patch| company.genesys.faults(serde_json::from_value(patch).unwrap());
    // Long enough that who waits for it is killed.
    let patient = ("GENESYS_PROXY__RATE_LIMIT__MAX_WAIT", "1h");
    let secret = ("GENESYS_CLIENT_SECRET", "another");
    let wrong = with(&[patient, secret]);
    assert_eq!(wrong.code, Some(78), "{}", wrong.stderr);
    let advice = "  check oauth.client_secret: it was replaced, or belongs to another client\n";
    assert!(wrong.stderr.starts_with("genesys-proxy: no token for client demo: "));
    assert!(
        wrong.stderr.ends_with(advice) && wrong.stderr.lines().count() == 2,
        "{}",
        wrong.stderr
    );
    let unknown = with(&[patient, ("GENESYS_CLIENT_ID", "nobody")]);
    assert_eq!(unknown.code, Some(78));
    assert!(unknown.stderr.contains("check oauth.client_id"), "{}", unknown.stderr);
    faults(json!({"token": "status:404"}));
    assert_eq!(with(&[patient]).code, Some(78));
    let impatient = ("GENESYS_PROXY__RATE_LIMIT__MAX_WAIT", "0s");
    let nowhere = ("GENESYS_PROXY__UPSTREAM__API_URL", "http://127.0.0.1:9");
    let unreachable = with(&[impatient, nowhere]);
    assert_eq!(unreachable.code, Some(69), "{}", unreachable.stderr);
    assert!(unreachable.stderr.contains("cannot be reached"), "{}", unreachable.stderr);
    faults(json!({"token": "down"}));
    assert_eq!(with(&[impatient]).code, Some(69));
    assert!(!trace.exists());
    // What passes is waited for.
    faults(json!({"token": {"mode": "down", "times": 1}}));
    assert_eq!(with(&[patient]).code, Some(0));
    assert!(trace.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_while_it_logs_in_ends_it_and_the_command_does_not_run() {
    let company = Company::new().await;
    company.genesys.faults(serde_json::from_value(json!({"token": "hold"})).unwrap());
    let running = Running::start(company.shell(&["--log", "info"], "echo it ran"));
    timeout(PATIENCE, company.genesys.until(|seen| seen.held == 1)).await.unwrap();
    running.signal(Signal::TERM);
    let ended = running.end();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(128 + 15), ""), "{}", ended.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_the_command_once_each_and_it_decides_when_to_end() {
    let company = Company::new().await;
    let mut running = Running::start(company.python(&[], LISTENS));
    assert!(running.line().starts_with("ready"));
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::INT, "SIGINT"),
        (Signal::QUIT, "SIGQUIT"),
        (Signal::TERM, "SIGTERM"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::WINCH, "SIGWINCH"),
    ] {
        running.signal(signal);
        assert_eq!(running.line(), name);
    }
    let Ended { code, stdout, .. } = running.end();
    assert_eq!((code, stdout.as_str()), (Some(0), ""));
    let mut running = Running::start(company.shell(&[], "echo ready; exec sleep 1000"));
    assert_eq!(running.line(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(128 + 15));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_that_was_ignored_at_the_start_is_ignored_by_the_command_too() {
    let company = Company::new().await;
    let exec = company.python(&[], LISTENS);
    let mut words =
        vec![OsStr::new("sh"), OsStr::new("-c"), OsStr::new("trap '' HUP; exec \"$@\"")];
    words.extend([OsStr::new("sh"), exec.get_program()]);
    words.extend(exec.get_args());
    let mut running = Running::start(outside(&words));
    assert!(running.line().starts_with("ready"));
    running.signal(Signal::HUP);
    running.signal(Signal::USR1);
    assert_eq!(running.line(), "SIGUSR1");
    assert_eq!(running.end().stdout, "");
}

/// A process group that does not outlive its test.
struct Killed(rustix::process::Pid);

impl Drop for Killed {
    fn drop(&mut self) {
        rustix::process::kill_process_group(self.0, Signal::KILL).ok();
    }
}

/// A terminal sends SIGINT to all in its foreground: the command gets it from there, and only there.
#[tokio::test(flavor = "multi_thread")]
async fn control_c_interrupts_the_command_once() {
    let company = Company::new().await;
    let (mut terminal, slave) = terminal::pair();
    let exec = company.python(&[], LISTENS);
    let mut command = Command::new("setsid");
    command.args(["--ctty", "--wait"]).arg(exec.get_program()).args(exec.get_args());
    command.env_clear().envs(exec.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child =
        command.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = || {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        line.trim_end().to_owned()
    };
    let ready = line();
    let gateway: i32 = ready.strip_prefix("ready ").unwrap().parse().unwrap();
    let gateway = rustix::process::Pid::from_raw(gateway).unwrap();
    let _killed = Killed(gateway);
    // Of two that come at the same time a process sees one: not each round would tell.
    for _ in 0..20 {
        terminal.write_all(b"\x03").unwrap();
        assert_eq!(line(), "SIGINT");
        // The gateway takes its signals in this order: one more SIGINT would be there by then.
        rustix::process::kill_process(gateway, Signal::USR1).unwrap();
        assert_eq!(line(), "SIGUSR1");
    }
    // End of file.
    terminal.write_all(b"\x04").unwrap();
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_of_the_commands_own_child_is_answered_after_the_command_has_ended() {
    let toml =
        format!("{NO_LIMIT}\n[oauth]\nrevoke_on_exit = true\n[telemetry]\naccess_log = true");
    let company = Company::with(&toml).await;
    let faults = |patch| company.genesys.faults(serde_json::from_value(patch).unwrap());
    faults(json!({"api": [{"match": format!("GET {ME}"), "hold": true}]}));
    let mut exec = company.shell(&["--log", "info"], "\"$0\" -c \"$1\" & read line; exit 5");
    exec.arg(python()).arg(CALLS);
    let mut running = Running::start(exec);
    let held = company.genesys.until(|seen| seen.held == 1);
    timeout(PATIENCE, held).await.expect("the call should be at the simulator");
    running.say("end");
    running.logged("requests that have begun end first in_flight=1");
    faults(json!({"clear": true}));
    let Ended { code, stdout, stderr } = running.end();
    assert_eq!((code, stdout.as_str()), (Some(5), "200\n"));
    assert!(stderr.contains(" access caller=exec GET /api/v2/organizations/me 200"), "{stderr}");
    assert!(stderr.contains("drained clean=true"), "{stderr}");
    assert_eq!(company.genesys.revoke(), 0, "the token is revoked already");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_end_after_the_command_is_cut_in_time_or_by_a_signal() {
    let company = Company::new().await;
    let script = CALLS.replace("organizations/me", "stream?chunks=2&gap_ms=3600000");
    let script = script.replace("print(", "answer = ").replace(".status, flush=True)", "");
    let script = format!("{script}\nprint(answer.status, flush=True)\nanswer.read()");
    for (timeout, signal, says) in [
        ("1s", None, "shutdown_timeout is over"),
        ("5m", Some(Signal::TERM), "a signal: ending now"),
    ] {
        let mut exec = company.shell(&["--log", "info"], "\"$0\" -c \"$1\" & read line; exit 5");
        exec.arg(python()).arg(&script).env("GENESYS_PROXY__SHUTDOWN_TIMEOUT", timeout);
        let mut running = Running::start(exec);
        assert_eq!(running.line(), "200");
        running.say("end");
        running.logged("requests that have begun end first in_flight=1");
        if let Some(signal) = signal {
            running.signal(signal);
        }
        let ended = running.end();
        assert_eq!(ended.code, Some(5));
        assert!(ended.stderr.contains(says), "{}", ended.stderr);
    }
}

#[test]
fn no_other_process_of_the_user_reads_a_gateways_environment() {
    let config = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        config.path(),
        "listen = [\"127.0.0.1:0\"]\nadmin = \"\"\nupstream.api_url = \"http://127.0.0.1:9\"\n",
    )
    .unwrap();
    let gateway = env!("CARGO_BIN_EXE_genesys-proxy");
    let words = [gateway, "serve", "--config", config.path().to_str().unwrap()];
    let running = Running::start(outside(&words.map(OsStr::new)));
    running.logged("listening on");
    let environ = format!("/proc/{}/environ", running.pid().as_raw_nonzero());
    let cat = outside(&["cat", &environ].map(OsStr::new)).output().unwrap();
    assert!(!cat.status.success() && cat.stdout.is_empty());
}
