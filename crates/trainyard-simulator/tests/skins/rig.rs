//! What the tests of the skins share: a client that is nobody's, and the check of everything that was said.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::Value;
use trainyard_simulator::{Account, Options, Simulator, Vendor, World, serve};

use crate::openapi::{Exchange, Spec};

/// Longer than anything here takes.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A client of one vendor's simulated API.
pub(crate) struct Client {
    http: reqwest::Client,
    base: String,
    key: String,
    agent: String,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Null where it is no JSON.
    pub(crate) json: Value,
}

impl Client {
    pub(crate) fn new(simulator: &Simulator, vendor: Vendor) -> Client {
        Client {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            base: simulator.vendor_url(vendor),
            key: Account::usual_key(vendor),
            agent: "trainyard-tests/1".to_owned(),
        }
    }

    /// The same with another key; empty: with none.
    pub(crate) fn with_key(&self, key: &str) -> Client {
        Client {
            http: self.http.clone(),
            base: self.base.clone(),
            key: key.to_owned(),
            agent: self.agent.clone(),
        }
    }

    /// The same as another program.
    pub(crate) fn with_agent(&self, agent: &str) -> Client {
        Client { agent: agent.to_owned(), ..self.with_key(&self.key) }
    }

    /// The same at another address.
    pub(crate) fn at(&self, base: &str) -> Client {
        Client { base: base.to_owned(), ..self.with_key(&self.key) }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Told {
        let answer = self.begin(method, path, body, &[]).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Told { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.ask("GET", path, None).await
    }

    /// An answer whose body is not read yet.
    pub(crate) async fn begin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        headers: &[(&'static str, &str)],
    ) -> reqwest::Response {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.base)).timeout(LONG);
        if !self.key.is_empty() {
            request = request.bearer_auth(&self.key);
        }
        if !self.agent.is_empty() {
            request = request.header("user-agent", &self.agent);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        request.send().await.unwrap()
    }
}

pub(crate) async fn start(options: Options) -> (Simulator, World) {
    let simulator = serve(options).await.unwrap();
    let world = simulator.world();
    (simulator, world)
}

/// Everything that was said to and by a vendor, held against its document. A request that was refused was wrong on
/// purpose, and only its answer counts.
pub(crate) fn assert_documented(world: &World, vendor: Vendor, file: &str) {
    let Some(spec) = Spec::load(vendor.as_str(), file) else { return };
    let said: Vec<Exchange> =
        world.tape().into_iter().filter(|said| said.vendor == vendor).filter_map(read).collect();
    assert!(!said.is_empty(), "something was said");
    let (wrong, right): (Vec<_>, Vec<_>) =
        said.into_iter().partition(|said| (400..500).contains(&said.status) && said.status != 404);
    let mut problems = spec.check(&right);
    problems.extend(spec.check(&wrong).into_iter().filter(|problem| problem.contains(": answer ")));
    assert!(problems.is_empty(), "against {vendor}'s own document:\n{}", problems.join("\n"));
}

fn read(said: trainyard_simulator::world::Exchange) -> Option<Exchange> {
    let url = reqwest::Url::parse(&format!("http://x{}?{}", said.path, said.query)).ok()?;
    Some(Exchange {
        method: said.method,
        path: decoded(&said.path),
        query: url.query_pairs().into_owned().collect(),
        body: serde_json::from_slice(&said.body).ok(),
        status: said.status?,
        answer: said.answer.and_then(|body| serde_json::from_slice(&body).ok()),
    })
}

/// A path as the document writes it: ids hold no slash in these tests.
fn decoded(path: &str) -> String {
    path.replace("%20", " ")
}
