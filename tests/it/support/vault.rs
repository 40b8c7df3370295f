//! A stand-in for `HashiCorp` Vault, written from the documentation of its HTTP interface: KV v1 and
//! v2, the logins of `AppRole` and Kubernetes, and a token's look at itself and renewal.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch, task::JoinSet, time::Instant};

use super::gateway::PATIENCE;

pub const ROLE_ID: &str = "the-role";
pub const SECRET_ID: &str = "S3cret-id";
pub const JWT: &str = "S3cret.jwt.x";

pub struct Vault {
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    seen: watch::Sender<Vec<String>>,
    _serving: JoinSet<()>,
}

struct State {
    /// By the path of the HTTP interface, `data/` and all.
    secrets: HashMap<String, Value>,
    tokens: HashMap<String, Token>,
    made: usize,
    /// Of logins.
    life: Duration,
    renewable: bool,
    namespace: Option<String>,
    /// What every request is answered.
    broken: Option<u16>,
    /// What reads are answered whose token is good.
    denied: bool,
}

#[derive(Clone)]
struct Token {
    ends: Option<Instant>,
    life: Duration,
    renewable: bool,
}

impl Token {
    fn new(life: Duration, renewable: bool) -> Self {
        let ends = (!life.is_zero()).then(|| Instant::now() + life);
        Self { ends, life, renewable }
    }
}

impl Vault {
    pub async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            secrets: HashMap::new(),
            tokens: HashMap::new(),
            made: 0,
            life: Duration::from_secs(3600),
            renewable: true,
            namespace: None,
            broken: None,
            denied: false,
        }));
        let seen = watch::Sender::new(Vec::new());
        let (shared, log) = (Arc::clone(&state), seen.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, seen) = (Arc::clone(&shared), log.clone());
                let service = service_fn(move |request| {
                    let (state, seen) = (Arc::clone(&state), seen.clone());
                    async move { Ok::<_, hyper::Error>(answer(&state, &seen, request).await) }
                });
                connections.spawn(async move {
                    // How a client leaves is its own business.
                    http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                        .ok();
                });
            }
        });
        Self { address, state, seen, _serving: serving }
    }

    fn with<R>(&self, act: impl FnOnce(&mut State) -> R) -> R {
        act(&mut self.state.lock().unwrap())
    }

    /// `data` at a path of the HTTP interface: v2 when there is `/data/` in it.
    pub fn put(&self, path: &str, data: Value) {
        self.with(|state| state.secrets.insert(path.to_owned(), data));
    }

    /// A token made by somebody else; a life of zero has no end.
    pub fn token(&self, token: &str, life: Duration, renewable: bool) {
        self.with(|state| state.tokens.insert(token.to_owned(), Token::new(life, renewable)));
    }

    /// Of logins from now on.
    pub fn logins(&self, life: Duration, renewable: bool) {
        self.with(|state| (state.life, state.renewable) = (life, renewable));
    }

    pub fn revoke_all(&self) {
        self.with(|state| state.tokens.clear());
    }

    pub fn namespace(&self, name: &str) {
        self.with(|state| state.namespace = Some(name.to_owned()));
    }

    pub fn broken(&self, status: Option<u16>) {
        self.with(|state| state.broken = status);
    }

    pub fn denied(&self, denied: bool) {
        self.with(|state| state.denied = denied);
    }

    /// `GET secret/data/genesys 200`, a line a request.
    pub fn seen(&self) -> Vec<String> {
        self.seen.borrow().clone()
    }

    /// Waits for so many lines that begin like this.
    pub async fn until(&self, begin: &str, count: usize) {
        let mut seen = self.seen.subscribe();
        let enough =
            |seen: &Vec<String>| seen.iter().filter(|l| l.starts_with(begin)).count() >= count;
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(enough)).await.map(|_| ());
        assert!(waited.is_ok(), "no {count} of {begin:?} in {:?}", self.seen());
    }
}

async fn answer(
    state: &Mutex<State>,
    seen: &watch::Sender<Vec<String>>,
    request: Request<Incoming>,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let path = head.uri.path().strip_prefix("/v1/").unwrap_or("not under /v1/").to_owned();
    let header = |name: &str| head.headers.get(name).and_then(|v| v.to_str().ok());
    let (token, namespace) = (header("x-vault-token"), header("x-vault-namespace"));
    let (status, answer) = {
        let mut state = state.lock().unwrap();
        if let Some(status) = state.broken {
            (status, json!({"errors": ["Vault is sealed"]}))
        } else if state.namespace.as_deref() != namespace {
            (403, json!({"errors": ["permission denied"]}))
        } else {
            state.answer(&head.method, &path, token, &body)
        }
    };
    let line = format!("{} {path} {status}", head.method);
    seen.send_modify(|seen| seen.push(line));
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap())
        .header("content-type", "application/json")
        .body(Full::from(answer.to_string()))
        .unwrap()
}

impl State {
    fn answer(
        &mut self,
        method: &Method,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (u16, Value) {
        match (method.as_str(), path) {
            ("POST", "auth/approle/login") => {
                if body["role_id"] == ROLE_ID && body["secret_id"] == SECRET_ID {
                    return (200, self.login());
                }
                return (400, json!({"errors": ["invalid role or secret ID"]}));
            }
            ("POST", "auth/kubernetes/login") => {
                if body["role"] == ROLE_ID && body["jwt"] == JWT {
                    return (200, self.login());
                }
                return (403, json!({"errors": ["permission denied"]}));
            }
            _ => {}
        }
        let now = Instant::now();
        let known = token.and_then(|token| {
            let good = |t: &&mut Token| t.ends.is_none_or(|ends| now < ends);
            self.tokens.get_mut(token).filter(good)
        });
        let Some(known) = known else {
            let errors = ["2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n"];
            return (403, json!({"errors": errors}));
        };
        match (method.as_str(), path) {
            ("GET", "auth/token/lookup-self") => {
                let ttl = known.ends.map_or(0, |ends| (ends - now).as_secs());
                (
                    200,
                    json!({"data": {
                    "accessor": "a", "creation_time": 1, "creation_ttl": known.life.as_secs(),
                    "display_name": "token", "entity_id": "", "expire_time": null,
                    "explicit_max_ttl": 0, "id": token, "num_uses": 0, "orphan": true,
                    "path": "auth/token/create", "policies": ["default"],
                    "renewable": known.renewable, "ttl": ttl, "type": "service"}}),
                )
            }
            ("POST", "auth/token/renew-self") if known.renewable => {
                *known = Token::new(known.life, true);
                (200, auth(token.unwrap(), known.life, true))
            }
            ("POST", "auth/token/renew-self") => {
                (400, json!({"errors": ["lease is not renewable"]}))
            }
            ("GET", _) if self.denied => {
                (403, json!({"errors": ["1 error occurred:\n\t* permission denied\n\n"]}))
            }
            ("GET", path) => match self.secrets.get(path) {
                Some(data) if path.contains("/data/") => (
                    200,
                    json!({
                    "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0,
                    "data": {"data": data, "metadata": {
                        "created_time": "2026-01-01T00:00:00Z", "custom_metadata": null,
                        "deletion_time": "", "destroyed": false, "version": 1}},
                    "wrap_info": null, "warnings": null, "auth": null}),
                ),
                Some(data) => (
                    200,
                    json!({
                    "request_id": "r", "lease_id": "", "renewable": false,
                    "lease_duration": 2_764_800, "data": data,
                    "wrap_info": null, "warnings": null, "auth": null}),
                ),
                None => (404, json!({"errors": []})),
            },
            _ => (405, json!({"errors": ["unsupported operation"]})),
        }
    }

    fn login(&mut self) -> Value {
        self.made += 1;
        let token = format!("hvs.S3cret-{}", self.made);
        self.tokens.insert(token.clone(), Token::new(self.life, self.renewable));
        auth(&token, self.life, self.renewable)
    }
}

fn auth(token: &str, life: Duration, renewable: bool) -> Value {
    json!({
        "request_id": "r", "lease_id": "", "renewable": false, "lease_duration": 0, "data": null,
        "wrap_info": null, "warnings": null,
        "auth": {"client_token": token, "accessor": "a", "policies": ["default"],
            "token_policies": ["default"], "metadata": {"role_name": "genesys"},
            "lease_duration": life.as_secs(), "renewable": renewable, "entity_id": "e",
            "token_type": "service", "orphan": true, "mfa_requirement": null, "num_uses": 0}})
}
