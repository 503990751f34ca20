//! RunPod's REST API v2: one method for each call, and the only file with its paths.
//!
//! Promises that an order is sent once, that a page is read whole or not at all, and that nothing which is not RunPod's
//! own answer passes for one.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::json;
use trainyard_connector::http::{Answer, Auth, Call, HttpClient, HttpConfig, Method, Pace, Repeat};
use trainyard_connector::{ConnectorError, ErrorKind};
use trainyard_domain::{OrderName, ProviderJobId, ProviderName};

use crate::config::CloudTier;
use crate::error::{Doing, is_not_found, refusal};
use crate::map::cloud_word;
use crate::wire::{Billing, CreatePod, GpuList, NetworkVolume, Pod, PodPage, Registry, RegistryList};

/// Placing a pod takes RunPod up to a minute.
const ORDER_WITHIN: Duration = Duration::from_secs(120);
/// Everything else is answered from its books.
const WITHIN: Duration = Duration::from_secs(30);
/// Pods of one page. Each brings its script and its environment, some 15 KB.
const PAGE_PODS: u32 = 200;
/// Most pages of one listing.
const PAGES_MAX: usize = 500;
/// Most bytes of an answer: a page of pods, and as much again.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a request, as RunPod says.
pub(crate) const REQUEST_BYTES_MAX: usize = 102_400;
/// Lines of a log to begin with; more are asked for by time.
const LOG_TAIL: u32 = 1000;
/// The backfill of a log comes in one burst; a stream that is silent that long has no more for now.
const LOG_SILENCE: Duration = Duration::from_millis(750);
/// A log without a line yet does not even begin to answer.
const LOG_WITHIN: Duration = Duration::from_secs(5);

/// Some 180 calls a minute were seen to be allowed, and RunPod tells with each answer what is left: so this is a
/// measure against bursts, and a 429 is the vendor's own word.
pub(crate) fn usual_paces() -> Vec<Pace> {
    vec![Pace { op: "*", every: Duration::from_millis(350), burst: 60 }]
}

/// RunPod's API with one key.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: HttpClient,
}

impl Api {
    pub(crate) fn new(
        provider: ProviderName,
        url: &str,
        key: SecretString,
        paces: Vec<Pace>,
    ) -> Result<Api, ConnectorError> {
        let http = HttpClient::new(HttpConfig {
            within: WITHIN,
            answer_bytes_max: ANSWER_BYTES_MAX,
            paces,
            // RunPod decides on a 429 before any work.
            too_many_is_refusal: true,
            ..HttpConfig::new(provider, url, Auth::Bearer(key))
        })?;
        Ok(Api { http })
    }

    /// Types of GPUs with prices and stock for pods of so many.
    pub(crate) async fn gpus(
        &self,
        cloud: CloudTier,
        count: u32,
        min_cuda: Option<&str>,
    ) -> Result<GpuList, ConnectorError> {
        let mut call = Call::get("offers", "/v2/catalog/gpus");
        call.query = vec![
            ("include", "AVAILABILITY".to_owned()),
            ("product", "POD".to_owned()),
            ("count", count.max(1).to_string()),
            ("cloud", cloud_word(cloud).to_owned()),
        ];
        call.query.extend(min_cuda.map(|version| ("minCudaVersion", version.to_owned())));
        read(Doing::Reading, &self.http.call(call).await?)
    }

    /// Orders a pod. Sent once.
    pub(crate) async fn create_pod(&self, pod: &CreatePod<'_>) -> Result<Pod, ConnectorError> {
        let body = serde_json::to_value(pod).map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, "the order cannot be written").because(error)
        })?;
        let bytes = body.to_string().len();
        if bytes > REQUEST_BYTES_MAX {
            let text = format!("the order has {bytes} bytes, and RunPod takes {REQUEST_BYTES_MAX}");
            return Err(ConnectorError::refused(ErrorKind::Invalid, text));
        }
        let call = Call {
            body: Some(body),
            within: Some(ORDER_WITHIN),
            ..Call::new("order", Method::POST, "/v2/pods", Repeat::Never)
        };
        read(Doing::Order, &self.http.call(call).await?)
    }

    /// Every pod of the account: all pages, or an error.
    pub(crate) async fn pods(&self) -> Result<Vec<Pod>, ConnectorError> {
        let mut pods = Vec::new();
        let mut seen: Vec<String> = Vec::new();
        for _ in 0..PAGES_MAX {
            let mut call = Call::get("list", "/v2/pods");
            call.query = vec![("limit", PAGE_PODS.to_string())];
            call.query.extend(seen.last().map(|cursor| ("cursor", cursor.clone())));
            let page: PodPage = read(Doing::Reading, &self.http.call(call).await?)?;
            pods.extend(page.pods);
            // A page may hold fewer than asked for: only its own word tells the last one, or else its cursor.
            let leads_on = |word: Option<bool>, cursor: &str| word.unwrap_or(!cursor.is_empty());
            let next = page.pagination.filter(|pages| leads_on(pages.has_next_page.0, &pages.next_cursor.0));
            let Some(next) = next.map(|pages| pages.next_cursor.0) else { return Ok(pods) };
            if next.is_empty() || seen.contains(&next) {
                return Err(unreadable("RunPod's listing of pods does not end: a page led to one before it"));
            }
            seen.push(next);
        }
        Err(unreadable(&format!("RunPod's listing of pods has more than {PAGES_MAX} pages")))
    }

    /// One pod; none where RunPod itself says that there is no such pod.
    pub(crate) async fn pod(&self, id: &ProviderJobId) -> Result<Option<Pod>, ConnectorError> {
        let answer = self.http.call(Call::get("look", format!("/v2/pods/{}", segment(id.as_str())))).await?;
        if is_not_found(&answer) { Ok(None) } else { read(Doing::Reading, &answer).map(Some) }
    }

    /// Deletes a pod; false where RunPod itself says that there is no such pod.
    pub(crate) async fn delete_pod(&self, id: &ProviderJobId) -> Result<bool, ConnectorError> {
        let path = format!("/v2/pods/{}", segment(id.as_str()));
        let answer = self.http.call(Call::new("terminate", Method::DELETE, path, Repeat::Freely)).await?;
        if answer.is_success() || is_not_found(&answer) {
            return Ok(answer.is_success());
        }
        Err(refusal(Doing::Change, &answer))
    }

    /// What there is of a pod's log, from a time on or its last lines; empty where there is none yet.
    pub(crate) async fn log(
        &self,
        id: &ProviderJobId,
        since: Option<&str>,
    ) -> Result<Answer, ConnectorError> {
        let mut call = Call::get("log", format!("/v2/pods/{}/logs", segment(id.as_str())));
        call.query = match since {
            Some(since) => vec![("since", since.to_owned())],
            None => vec![("tail", LOG_TAIL.to_string())],
        };
        let answer = self.http.read_until_silent(call, LOG_SILENCE, LOG_WITHIN).await?;
        if answer.is_success() { Ok(answer) } else { Err(refusal(Doing::Reading, &answer)) }
    }

    /// What was billed for a pod, day by day.
    pub(crate) async fn billing(&self, id: &ProviderJobId) -> Result<Billing, ConnectorError> {
        let mut call = Call::get("bill", "/v2/billing/pods");
        call.query = vec![("podId", id.as_str().to_owned()), ("bucketSize", "day".to_owned())];
        read(Doing::Reading, &self.http.call(call).await?)
    }

    /// The cheapest reading that needs the key; with the limits that the answer tells.
    pub(crate) async fn probe(&self) -> Result<Answer, ConnectorError> {
        let mut call = Call::get("account", "/v2/pods");
        call.query = vec![("limit", "1".to_owned())];
        let answer = self.http.call(call).await?;
        read::<PodPage>(Doing::Reading, &answer)?;
        Ok(answer)
    }

    /// A network volume; none where RunPod itself says that there is no such volume.
    pub(crate) async fn network_volume(&self, id: &str) -> Result<Option<NetworkVolume>, ConnectorError> {
        let call = Call::get("volume", format!("/v2/network-volumes/{}", segment(id)));
        let answer = self.http.call(call).await?;
        if is_not_found(&answer) { Ok(None) } else { read(Doing::Reading, &answer).map(Some) }
    }

    /// The account's logins at image registries, without their passwords.
    pub(crate) async fn registries(&self) -> Result<Vec<Registry>, ConnectorError> {
        let answer = self.http.call(Call::get("logins", "/v2/registries")).await?;
        read::<RegistryList>(Doing::Reading, &answer).map(|list| list.registries)
    }

    /// Makes a login under an order's name. Sent once.
    pub(crate) async fn create_registry(
        &self,
        name: &OrderName,
        login: &trainyard_connector::RegistryLogin,
    ) -> Result<Registry, ConnectorError> {
        let body = json!({
            "name": name.as_str(),
            "username": login.username,
            "password": login.password.expose_secret(),
        });
        let call = Call {
            body: Some(body),
            ..Call::new("make_login", Method::POST, "/v2/registries", Repeat::Never)
        };
        read(Doing::Change, &self.http.call(call).await?)
    }

    /// Deletes a login. One that is not there any more is as good.
    pub(crate) async fn delete_registry(&self, id: &str) -> Result<(), ConnectorError> {
        let path = format!("/v2/registries/{}", segment(id));
        let answer = self.http.call(Call::new("delete_login", Method::DELETE, path, Repeat::Freely)).await?;
        if answer.is_success() || is_not_found(&answer) {
            Ok(())
        } else {
            Err(refusal(Doing::Change, &answer))
        }
    }
}

/// The limits that an answer tells, as RunPod writes them: `"minute";q=60;w=60, …`.
pub(crate) fn limits(answer: &Answer) -> Vec<(String, String)> {
    let header = |name: &str| {
        let value = answer.headers.get(name).and_then(|value| value.to_str().ok())?;
        Some((name.to_owned(), crate::error::tidy(value)))
    };
    ["ratelimit-policy", "ratelimit"].into_iter().filter_map(header).collect()
}

fn read<T: DeserializeOwned>(doing: Doing, answer: &Answer) -> Result<T, ConnectorError> {
    if answer.is_success() { answer.json() } else { Err(refusal(doing, answer)) }
}

fn unreadable(text: &str) -> ConnectorError {
    ConnectorError::refused(ErrorKind::Unreachable, text)
}

/// One segment of a path, percent-encoded: an id is the vendor's and may hold anything that can be printed.
fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        // A dot is encoded too, so that no id is a way upwards.
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn an_id_is_one_segment_of_a_path() {
        assert_eq!(segment("5xpma5eg46tqjq"), "5xpma5eg46tqjq");
        assert_eq!(segment("../a b?c"), "%2E%2E%2Fa%20b%3Fc");
    }
}
