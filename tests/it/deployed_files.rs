//! What is shipped to run several gateways agrees with itself, with the program and with its documents:
//! `docker-compose.yml` and `deploy/kubernetes`. That it works is for `replicas_deployed` to show.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::yaml::{documents, manifests};

const MANIFESTS: [&str; 4] = [
    "deploy/kubernetes/namespace.yaml",
    "deploy/kubernetes/gateway.yaml",
    "deploy/kubernetes/redis.yaml",
    "deploy/kubernetes/network-policies.yaml",
];
const EXAMPLES: &str = "deploy/kubernetes/secrets.example.yaml";
const IMAGE: &str = concat!("genesys-proxy:", env!("CARGO_PKG_VERSION"));

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn compose() -> Value {
    documents(&["docker-compose.yml"]).remove(0)
}

fn beside() -> Value {
    documents(&["docker-compose.override.yml"]).remove(0)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn words(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

fn names(value: &Value) -> BTreeSet<&str> {
    value.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect()
}

/// The one of a kind and name.
fn find<'a>(all: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let is = |value: &&Value| value["kind"] == kind && value["metadata"]["name"] == name;
    all.iter().find(is).unwrap_or_else(|| panic!("there is no {kind} {name}"))
}

fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').unwrap().parse().unwrap()
}

/// Of a `proxy.toml`.
fn drain(toml: &str) -> u64 {
    let line = toml.lines().find_map(|line| line.strip_prefix("shutdown_timeout = ")).unwrap();
    seconds(line.trim_matches('"'))
}

/// What `genesys-proxy check` says of a file, whose paths lead to files in a directory.
fn check(toml: &str, paths: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let mut toml = shipped(toml);
    for path in paths {
        let file = dir.path().join(path.rsplit('/').next().unwrap());
        fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
        assert!(toml.contains(&format!("\"{path}\"")), "{path} is not in it");
        toml = toml.replace(path, file.to_str().unwrap());
    }
    let config = dir.path().join("proxy.toml");
    fs::write(&config, toml).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_genesys-proxy"))
        .args(["check", "--config"])
        .arg(&config)
        .env_clear()
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn the_configuration_of_both_is_good_and_meets_in_the_store() {
    for (toml, paths) in [
        (
            "deploy/compose/proxy.toml",
            [
                "/run/secrets/client-id",
                "/run/secrets/client-secret",
                "/gateways/caller-key",
                "/gateways/redis-password",
            ],
        ),
        (
            "deploy/kubernetes/proxy.toml",
            [
                "/run/secrets/genesys/client-id",
                "/run/secrets/genesys/client-secret",
                "/run/secrets/callers/billing",
                "/run/secrets/store/password",
            ],
        ),
    ] {
        let said = check(toml, &paths);
        for fact in ["0.0.0.0:8080", "0.0.0.0:8081", "1 named, and nobody else"] {
            assert!(said.contains(fact), "{toml}: {said}");
        }
        assert!(shipped(toml).contains("url = \"redis://redis:6379\""), "{toml}");
    }
}

#[test]
fn each_container_may_do_nothing_it_need_not_and_its_image_is_pinned() {
    for (name, service) in compose()["services"].as_object().unwrap().iter().chain(
        beside()["services"].as_object().unwrap().iter().filter(|(name, _)| *name == "simulator"),
    ) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(words(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(words(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        assert!(service["privileged"].is_null() && service["pids_limit"].is_u64(), "{name}");
        assert!(service["mem_limit"].is_string(), "{name} has no bound");
        let image = text(&service["image"]);
        let (_, tag) = image.rsplit_once(':').unwrap();
        let tag = tag.strip_prefix('v').unwrap_or(tag);
        assert!(tag.starts_with(|c: char| c.is_ascii_digit()), "{image}");
        let (user, added) = (text(&service["user"]), words(&service["cap_add"]));
        // It gives files away, without a network, and ends.
        let keys = name == "keys" && service["network_mode"] == "none";
        assert!(keys || (!user.starts_with("0:") && added.is_empty()), "{name}: {user} {added:?}");
    }
    for pod in manifests(&MANIFESTS).iter().filter(|value| value["kind"] == "Deployment") {
        let spec = &pod["spec"]["template"]["spec"];
        assert_eq!(spec["automountServiceAccountToken"], false);
        assert_eq!(spec["securityContext"]["runAsNonRoot"], true);
        assert_eq!(spec["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for container in list(&spec["containers"]) {
            let own = &container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"], false);
            assert_eq!(own["readOnlyRootFilesystem"], true);
            assert_eq!(words(&own["capabilities"]["drop"]), ["ALL"]);
            assert!(container["resources"]["limits"]["memory"].is_string());
        }
    }
}

#[test]
fn the_image_is_of_this_version_and_runs_as_the_dockerfile_says() {
    let dockerfile = shipped("Dockerfile");
    let user = dockerfile.lines().rev().find_map(|line| line.strip_prefix("USER ")).unwrap();
    let (compose, beside) = (compose(), beside());
    for service in [
        &compose["services"]["gateway-1"],
        &compose["services"]["gateway-2"],
        &beside["services"]["simulator"],
    ] {
        assert_eq!((text(&service["image"]), text(&service["user"])), (IMAGE, user));
    }
    let kustomization = documents(&["deploy/kubernetes/kustomization.yaml"]).remove(0);
    let image = &kustomization["images"][0];
    let manifests = manifests(&MANIFESTS);
    let spec = &find(&manifests, "Deployment", "genesys-proxy")["spec"]["template"]["spec"];
    assert_eq!(image["name"], spec["containers"][0]["image"]);
    assert_eq!(format!("{}:{}", text(&image["name"]), text(&image["newTag"])), IMAGE);
    let own = &spec["securityContext"];
    assert_eq!(format!("{}:{}", own["runAsUser"], own["runAsGroup"]), user);
}

#[test]
fn a_gateway_is_given_the_time_that_its_drain_takes() {
    let compose = compose();
    let toml = drain(&shipped("deploy/compose/proxy.toml"));
    for name in ["gateway-1", "gateway-2"] {
        assert!(seconds(text(&compose["services"][name]["stop_grace_period"])) > toml);
    }
    let balancer = shipped("deploy/compose/haproxy.cfg");
    let hard = balancer.split("hard-stop-after ").nth(1).unwrap().lines().next().unwrap();
    assert!(seconds(hard) > toml);
    assert!(seconds(text(&compose["services"]["balancer"]["stop_grace_period"])) > seconds(hard));
    let manifests = manifests(&MANIFESTS);
    let deployment = find(&manifests, "Deployment", "genesys-proxy");
    let spec = &deployment["spec"]["template"]["spec"];
    let pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let toml = drain(&shipped("deploy/kubernetes/proxy.toml"));
    assert!(spec["terminationGracePeriodSeconds"].as_u64().unwrap() > pause + toml);
    // One that goes is replaced first.
    let rolling = &deployment["spec"]["strategy"]["rollingUpdate"];
    assert_eq!((&rolling["maxUnavailable"], &rolling["maxSurge"]), (&0.into(), &1.into()));
    assert!(deployment["spec"]["replicas"].as_u64() >= Some(2));
    let budget = &find(&manifests, "PodDisruptionBudget", "genesys-proxy")["spec"];
    assert_eq!(budget["minAvailable"], 1);
}

#[test]
fn what_compose_refers_to_is_there() {
    let (compose, beside) = (compose(), beside());
    let (services, networks) = (names(&compose["services"]), names(&compose["networks"]));
    let (volumes, secrets) = (names(&compose["volumes"]), names(&compose["secrets"]));
    for (name, service) in compose["services"].as_object().unwrap() {
        for network in words(&service["networks"]) {
            assert!(networks.contains(network), "{name}: {network}");
        }
        for secret in words(&service["secrets"]) {
            assert!(secrets.contains(secret), "{name}: {secret}");
        }
        for mount in words(&service["volumes"]) {
            let from = mount.split(':').next().unwrap();
            let there = match from.strip_prefix("./") {
                Some(path) => root().join(path).is_file(),
                None => volumes.contains(from),
            };
            assert!(there, "{name}: {mount}");
        }
        let after = &service["depends_on"];
        let after: Vec<_> = names(after).into_iter().chain(words(after)).collect();
        assert!(after.iter().all(|other| services.contains(other)), "{name}: {after:?}");
    }
    // Strangers reach the balancer, and people what watches; all on this machine.
    let published: Vec<_> = compose["services"]
        .as_object()
        .unwrap()
        .iter()
        .filter(|(_, service)| !service["ports"].is_null())
        .map(|(name, service)| (name.as_str(), words(&service["ports"])))
        .collect();
    let expected = [
        ("balancer", vec!["127.0.0.1:8080:8080"]),
        ("grafana", vec!["127.0.0.1:3000:3000"]),
        ("prometheus", vec!["127.0.0.1:9090:9090"]),
    ];
    assert_eq!(published, expected);
    assert_eq!(compose["networks"]["store"]["internal"], true);
    // With the simulator, nothing else is needed.
    assert_eq!(names(&beside["secrets"]), secrets);
    for secret in beside["secrets"].as_object().unwrap().values() {
        let file = root().join(text(&secret["file"]));
        assert_eq!(fs::read_to_string(&file).unwrap(), "demo\n", "{}", file.display());
    }
    for (name, service) in beside["services"].as_object().unwrap() {
        assert!(name == "simulator" || services.contains(name.as_str()), "{name}");
        assert!(name == "simulator" || service["network_mode"] == "service:simulator", "{name}");
    }
    let aliases = words(&beside["services"]["simulator"]["networks"]["callers"]["aliases"]);
    assert_eq!(aliases, ["gateway-1", "gateway-2"], "where the balancer looks for them");
}

/// Both are where the simulator is, so no two ports are the same.
#[test]
fn the_balancer_looks_for_the_gateways_where_they_listen() {
    let balancer = shipped("deploy/compose/haproxy.cfg");
    let compose = compose();
    let mut ports = BTreeSet::new();
    for (name, usual) in [("gateway-1", ["8080", "8081"]), ("gateway-2", ["8082", "8083"])] {
        let command = words(&compose["services"][name]["command"]);
        let of = |option: &str, usual: &str| {
            let at = command.iter().position(|word| *word == option);
            at.map_or(usual.to_owned(), |at| command[at + 1].replace("0.0.0.0:", ""))
        };
        let [listen, admin] = [of("--listen", "8080"), of("--admin", "8081")];
        assert_eq!([listen.as_str(), &admin], usual);
        assert!(balancer.contains(&format!("server {name} {name}:{listen} port {admin}\n")));
        ports.extend([listen, admin]);
    }
    assert_eq!(ports.len(), 4);
}

#[test]
fn what_the_manifests_refer_to_is_there() {
    let (all, examples) = (manifests(&MANIFESTS), manifests(&[EXAMPLES]));
    let kustomization = documents(&["deploy/kubernetes/kustomization.yaml"]).remove(0);
    let resources: Vec<_> = words(&kustomization["resources"])
        .into_iter()
        .map(|name| format!("deploy/kubernetes/{name}"))
        .collect();
    assert_eq!(resources, MANIFESTS, "and the examples are not among them");
    assert_eq!(kustomization["namespace"], all[0]["metadata"]["name"]);
    let config = &kustomization["configMapGenerator"][0];
    assert_eq!(words(&config["files"]), ["proxy.toml"]);
    for pod in all.iter().filter(|value| value["kind"] == "Deployment") {
        let name = text(&pod["metadata"]["name"]);
        let template = &pod["spec"]["template"];
        let labels = &template["metadata"]["labels"];
        assert_eq!(&pod["spec"]["selector"]["matchLabels"], labels, "{name}");
        let container = &template["spec"]["containers"][0];
        let ports: BTreeSet<_> =
            list(&container["ports"]).iter().map(|port| text(&port["name"])).collect();
        for probe in ["readinessProbe", "livenessProbe"] {
            let probe = &container[probe];
            let port = [&probe["httpGet"]["port"], &probe["tcpSocket"]["port"]];
            assert!(port.iter().filter_map(|p| p.as_str()).any(|port| ports.contains(port)));
        }
        let service = &find(&all, "Service", name)["spec"];
        assert_eq!(&service["selector"], labels, "{name}");
        assert!(ports.contains(text(&service["ports"][0]["targetPort"])), "{name}");
        volumes_fit(&template["spec"], text(&config["name"]), &examples);
        for policy in all.iter().filter(|value| value["kind"] == "NetworkPolicy") {
            let spec = &policy["spec"];
            if spec["podSelector"]["matchLabels"] == *labels {
                for port in list(&spec["ingress"]).iter().flat_map(|rule| list(&rule["ports"])) {
                    assert!(ports.contains(text(&port["port"])), "{name}");
                }
            }
        }
    }
    let budget = &find(&all, "PodDisruptionBudget", "genesys-proxy")["spec"]["selector"];
    assert_eq!(budget, &find(&all, "Deployment", "genesys-proxy")["spec"]["selector"]);
    // What the gateway is told to read is mounted.
    let spec = &find(&all, "Deployment", "genesys-proxy")["spec"]["template"]["spec"];
    let mounts = list(&spec["containers"][0]["volumeMounts"]);
    let toml = shipped("deploy/kubernetes/proxy.toml");
    for path in toml.split('"').filter(|word| word.starts_with("/run/")) {
        let (directory, key) = path.rsplit_once('/').unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == directory).unwrap();
        let volumes = list(&spec["volumes"]);
        let volume = volumes.iter().find(|volume| volume["name"] == mount["name"]).unwrap();
        let secret = find(&examples, "Secret", text(&volume["secret"]["secretName"]));
        assert!(!secret["stringData"][key].is_null(), "{path}");
    }
}

fn volumes_fit(spec: &Value, config: &str, examples: &[Value]) {
    let volumes = list(&spec["volumes"]);
    let mounted: BTreeSet<_> = list(&spec["containers"][0]["volumeMounts"])
        .iter()
        .map(|mount| text(&mount["name"]))
        .collect();
    assert_eq!(mounted, volumes.iter().map(|volume| text(&volume["name"])).collect());
    for volume in volumes {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            assert_eq!(name, config);
        }
        if let Some(name) = volume["secret"]["secretName"].as_str() {
            let secret = &find(examples, "Secret", name)["stringData"];
            for item in list(&volume["secret"]["items"]) {
                assert!(!secret[text(&item["key"])].is_null(), "{name}: {item}");
            }
        }
    }
}

#[test]
fn no_secret_is_shipped() {
    for secret in manifests(&[EXAMPLES]) {
        for (name, value) in secret["stringData"].as_object().unwrap() {
            let filled = text(value);
            assert!(filled.contains("FILL-IN") || filled.contains("#SHA-256-OF"), "{name}");
        }
    }
    let tracked = Command::new("git")
        .args(["-C", root().to_str().unwrap(), "check-ignore", "--no-index"])
        .args(["deploy/compose/secrets/client-secret", "deploy/compose/secrets/client-id"])
        .output()
        .unwrap();
    let ignored = String::from_utf8(tracked.stdout).unwrap();
    assert_eq!(ignored.lines().count(), 2, "git would take them: {ignored}");
}

/// One rule for whom Redis lets in, and one way to run it, wherever it is.
#[test]
fn both_give_redis_the_same_rules_and_the_same_bounds() {
    let (compose, all, examples) = (compose(), manifests(&MANIFESTS), manifests(&[EXAMPLES]));
    let redis = &find(&all, "Deployment", "redis")["spec"]["template"]["spec"]["containers"][0];
    let service = &compose["services"]["redis"];
    assert_eq!(words(&redis["args"]), words(&service["command"]));
    assert_eq!(redis["image"], service["image"]);
    let rules = |text: &str| {
        let line = text.lines().find(|line| line.contains("user genesys-proxy on #")).unwrap();
        line.split_once(" ~").unwrap().1.trim().to_owned()
    };
    let users = text(&find(&examples, "Secret", "redis")["stringData"]["users.acl"]);
    let script: PathBuf = root().join("deploy/compose/keys.sh");
    let script = fs::read_to_string(script).unwrap();
    assert_eq!(rules(users), rules(&script));
    assert!(shipped("docs/replicas.md").contains(&rules(users)), "and so do the docs");
}
