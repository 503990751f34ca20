//! Vast.ai's calls, one method each. The only room with its paths; every path ends with a slash, without which a body is
//! lost in a redirect.

use std::time::Duration;

use reqwest::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use trainyard_connector::http::{Answer, Auth, Call, HttpClient, HttpConfig, Repeat};
use trainyard_connector::{ConnectorError, ErrorKind};

use crate::config::VastAIConfig;
use crate::error::{OrderOutcome, order_outcome, read, says_absent, success};
use crate::logs::TAIL_LINES;
use crate::wire::{
    ChargesPage, GpuNamesAnswer, Instance, InstanceAnswer, InstancesPage, LogsAnswer, OffersAnswer,
    UserAnswer,
};

/// The server's most.
const PER_PAGE: &str = "25";
/// Between two looks whether a log is there.
const LOG_EVERY: Duration = Duration::from_millis(500);
/// How long an order may take to be answered: Vast's own client waits for two minutes.
const ORDER_WITHIN: Duration = Duration::from_secs(120);

/// The calls.
#[derive(Debug)]
pub(crate) struct Api {
    http: HttpClient,
    log_within: Duration,
}

impl Api {
    pub(crate) fn new(config: &VastAIConfig) -> Result<Api, ConnectorError> {
        let auth = Auth::Bearer(config.key.clone());
        let http = HttpConfig {
            paces: config.paces.clone(),
            ..HttpConfig::new(crate::provider_name(), config.url.clone(), auth)
        };
        Ok(Api { http: HttpClient::new(http)?, log_within: config.log_within })
    }

    /// Offers of the market that pass the filters; rows unread.
    pub(crate) async fn offers(&self, body: Value) -> Result<Vec<Value>, ConnectorError> {
        let call = Call {
            body: Some(body),
            ..Call::new("offers", Method::POST, "/api/v0/bundles/", Repeat::Freely)
        };
        let answer = self.read::<OffersAnswer>("searching offers", call).await;
        answer.map(|answer| answer.offers).map_err(ConnectorError::of_a_reading)
    }

    /// The names of cards that the market has.
    pub(crate) async fn gpu_names(&self) -> Result<Vec<String>, ConnectorError> {
        let call = Call::get("gpu names", "/api/v0/gpu_names/unique/");
        self.read::<GpuNamesAnswer>("reading the names of cards", call).await.map(|answer| answer.gpu_names)
    }

    /// Orders an instance. Sent once.
    pub(crate) async fn order(&self, ask: u64, body: Value) -> OrderOutcome {
        let call = Call {
            body: Some(body),
            within: Some(ORDER_WITHIN),
            ..Call::new("order", Method::PUT, format!("/api/v0/asks/{ask}/"), Repeat::Never)
        };
        match self.http.call(call).await {
            Ok(answer) => order_outcome(answer.status, &answer.body),
            Err(error) => OrderOutcome::Failed(error),
        }
    }

    /// One instance; none where Vast shows none, which may pass.
    pub(crate) async fn instance(&self, id: u64) -> Result<Option<Instance>, ConnectorError> {
        let call = Call::get("instance", format!("/api/v0/instances/{id}/"));
        let answer = self.http.call(call).await?;
        if says_absent(answer.status, &answer.body) {
            return Ok(None);
        }
        read::<InstanceAnswer>("reading a machine", answer.status, &answer.body)
            .map(|answer| answer.instances)
    }

    /// One page of the account's instances.
    pub(crate) async fn instances(&self, after: Option<&str>) -> Result<InstancesPage, ConnectorError> {
        let mut query = vec![
            ("limit", PER_PAGE.to_owned()),
            ("order_by", json!([{"col": "id", "dir": "asc"}]).to_string()),
        ];
        query.extend(after.map(|token| ("after_token", token.to_owned())));
        let call = Call { query, ..Call::get("instances", "/api/v1/instances/") };
        self.read("listing machines", call).await
    }

    /// Destroys an instance. Twice is as good as once; false where Vast.ai itself says that there is no such instance.
    pub(crate) async fn delete(&self, id: u64) -> Result<bool, ConnectorError> {
        let path = format!("/api/v0/instances/{id}/");
        let call =
            Call { body: Some(json!({})), ..Call::new("delete", Method::DELETE, path, Repeat::Freely) };
        let answer = self.http.call(call).await?;
        if says_absent(answer.status, &answer.body) {
            return Ok(false);
        }
        let doing = "giving a machine back";
        let said = success(doing, answer.status, &answer.body)?;
        if said.get("success") == Some(&Value::Bool(true)) {
            return Ok(true);
        }
        let text = format!("{doing} at Vast.ai was not confirmed ({})", answer.status);
        Err(ConnectorError::unknown(ErrorKind::Unreachable, text))
    }

    /// The last lines of a container's log, or of Vast's own program beside it; none while there is none.
    pub(crate) async fn log(&self, id: u64, daemon: bool) -> Result<Option<String>, ConnectorError> {
        let mut body = json!({"tail": TAIL_LINES.to_string()});
        if daemon {
            body["daemon_logs"] = json!("true");
        }
        let path = format!("/api/v0/instances/request_logs/{id}/");
        let call = Call { body: Some(body), ..Call::new("logs", Method::PUT, path, Repeat::Freely) };
        let answer = self.http.call(call).await?;
        // Before the container runs the request is refused in several ways; only a key that is wrong matters here.
        let doing = "asking for a log";
        let answer = match read::<LogsAnswer>(doing, answer.status, &answer.body) {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind, ErrorKind::Unauthorized | ErrorKind::RateLimited) => {
                return Err(error);
            }
            Err(_) => return Ok(None),
        };
        match answer.result_url {
            Some(url) => self.uploaded(&url).await,
            None => Ok(None),
        }
    }

    /// What was uploaded to an address of Vast's choice, once it is there: the host needs a moment. Without the key.
    async fn uploaded(&self, url: &str) -> Result<Option<String>, ConnectorError> {
        let until = Instant::now() + self.log_within;
        loop {
            let Answer { status, body, .. } = self.http.get_elsewhere(url).await?;
            match status {
                200 => return Ok(Some(String::from_utf8_lossy(&body).into_owned())),
                403 | 404 if Instant::now() + LOG_EVERY < until => sleep(LOG_EVERY).await,
                _ => return Ok(None),
            }
        }
    }

    /// The account.
    pub(crate) async fn user(&self) -> Result<UserAnswer, ConnectorError> {
        self.read("reading the account", Call::get("user", "/api/v0/users/current/")).await
    }

    /// One page of charges.
    pub(crate) async fn charges(
        &self,
        mut query: Vec<(&'static str, String)>,
        after: Option<&str>,
    ) -> Result<ChargesPage, ConnectorError> {
        query.extend(after.map(|token| ("after_token", token.to_owned())));
        let call = Call { query, ..Call::get("charges", "/api/v0/charges/") };
        self.read("reading charges", call).await
    }

    async fn read<T: DeserializeOwned>(&self, doing: &str, call: Call) -> Result<T, ConnectorError> {
        let answer = self.http.call(call).await?;
        read(doing, answer.status, &answer.body)
    }
}
