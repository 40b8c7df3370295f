//! The simulator over real sockets.
//! These tests must never sleep, or know a port beforehand.

mod bodies;
mod calls;
mod faults;
mod login;

use reqwest::{Client as Http, Method, RequestBuilder, Response, redirect::Policy};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Handle, Options, Simulator, Snapshot, TokenFormat};

/// A running simulator and a client that neither follows nor repairs anything.
struct Genesys {
    handle: Handle,
    http: Http,
    _serving: JoinSet<()>,
}

impl Genesys {
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        let simulator = Simulator::bind(([127, 0, 0, 1], 0).into(), options).await.unwrap();
        let handle = simulator.handle();
        let mut serving = JoinSet::new();
        serving.spawn(simulator.serve(std::future::pending()));
        let http = Http::builder().no_proxy().redirect(Policy::none()).build().unwrap();
        Self { handle, http, _serving: serving }
    }

    fn url(&self, target: &str) -> String {
        format!("http://{}{target}", self.handle.addr())
    }

    fn request(&self, method: Method, target: &str) -> RequestBuilder {
        self.http.request(method, self.url(target))
    }

    async fn login(&self) -> Response {
        let form = [("grant_type", "client_credentials")];
        let request = self.request(Method::POST, "/oauth/token").form(&form);
        request.basic_auth("demo", Some("demo")).send().await.unwrap()
    }

    async fn token(&self) -> String {
        let answer: Value = self.login().await.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn get(&self, target: &str, token: &str) -> Response {
        self.request(Method::GET, target).bearer_auth(token).send().await.unwrap()
    }

    async fn json(&self, target: &str, token: &str) -> Value {
        self.get(target, token).await.json().await.unwrap()
    }

    async fn faults(&self, faults: Value) {
        let answer = self.request(Method::POST, "/_sim/faults").json(&faults).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }

    async fn state(&self) -> Snapshot {
        let answer = self.request(Method::GET, "/_sim/state").send().await.unwrap();
        answer.json().await.unwrap()
    }
}

/// Status and code of an error in Genesys's shape.
async fn problem(answer: Response) -> (u16, String) {
    let status = answer.status().as_u16();
    let id = answer.headers()["inin-correlation-id"].to_str().unwrap().to_owned();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status);
    assert_eq!(body["contextId"], id);
    assert_eq!((&body["details"], &body["errors"]), (&json!([]), &json!([])));
    (status, body["code"].as_str().unwrap().to_owned())
}
