//! The client side of the HTTP API.
//!
//! Every call has a limit in time; streams have one between two readings. What a server answers is read tolerantly
//! (a newer server may say more), its errors become a [`Failure`] with the exit code of the contract. The token
//! lives in a header value that cannot be printed.

mod artifact;
mod events;
mod sse;
#[cfg(test)]
mod tests;
mod upload;
mod wire;

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::exit::{Exit, Failure};
use crate::out::Out;

pub(crate) use artifact::{FetchedFile, VERIFY_MAX, fetch_artifact};
pub(crate) use events::EventFeed;
pub(crate) use sse::SseConnection;
pub(crate) use upload::upload;
pub(crate) use wire::{Artifact, JobEvent, JobList, LogPart, Status, Verification, value_f64};

/// Longest time to a connection: a server on this machine answers in milliseconds, one across the world in one second.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Longest time for an ordinary call.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(30);
/// Longest silence of a stream; servers send a sign of life every 15 s.
pub(crate) const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Most bytes read of an ordinary answer.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which server, as whom, and in which form the answer is shown. Part of every client command.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// The server to speak to
    #[arg(
        long,
        env = "TRAINYARD_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:8000",
        value_name = "URL",
        help_heading = "Server"
    )]
    pub(crate) server: String,
    /// The token to show it, where it asks for one
    #[arg(
        long,
        env = "TRAINYARD_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        value_parser = secret,
        help_heading = "Server"
    )]
    pub(crate) token: Option<SecretString>,
    /// Answer in JSON
    #[arg(long, help_heading = "Server")]
    pub(crate) json: bool,
}

impl ClientArgs {
    /// Where results go.
    pub(crate) fn out(&self) -> Out {
        Out { json: self.json }
    }
}

fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text.to_owned()))
}

/// A server, ready to be asked.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    base: Url,
    http: reqwest::Client,
    token: Option<HeaderValue>,
}

impl Api {
    /// The server that the command line names.
    pub(crate) fn new(args: &ClientArgs) -> Result<Api, Failure> {
        Api::at(&args.server, args.token.as_ref())
    }

    /// The server at that address.
    pub(crate) fn at(server: &str, token: Option<&SecretString>) -> Result<Api, Failure> {
        let base = Url::parse(server)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| {
                Failure::usage(format!("`{server}` is no address of a server"))
                    .hint("give one such as http://127.0.0.1:8000 with --server or TRAINYARD_SERVER")
            })?;
        let token = token.map(bearer).transpose()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("trainyard/", env!("CARGO_PKG_VERSION")));
        if base.scheme() == "http" {
            // Without TLS no roots are needed: it works on a machine that has none, and starts sooner.
            builder = builder.tls_certs_only([]);
        }
        if is_loopback(&base) {
            // A proxy named in the environment would look for the server on its own machine.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| Failure::failed("no HTTP client").because(&error))?;
        Ok(Api { base, http, token })
    }

    /// The server's address as the user gave it.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// A request below `/api/training`, with the token. Segments are encoded, so no name can lead elsewhere.
    pub(crate) fn request(&self, method: Method, segments: &[&str]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "training"]).extend(segments);
        }
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.header(AUTHORIZATION, token),
            None => request,
        }
    }

    /// Sends a request; an answer that is no success is a [`Failure`].
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.not_reached(&error))?;
        if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
    }

    /// Sends an ordinary request and reads its JSON.
    pub(crate) async fn call<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T, Failure> {
        let response = self.send(request).await?;
        let bytes = read_capped(response).await.map_err(|error| self.not_reached(&error))?;
        // An answer without a body (a 204) reads as null.
        let bytes = if bytes.is_empty() { Bytes::from_static(b"null") } else { bytes };
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format!("what {} answered is not what was expected", self.address()))
                .because(&error)
                .hint("is a Trainyard server of this version at that address?")
        })
    }

    /// `GET` with a query.
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.call(self.request(Method::GET, segments).query(query).timeout(CALL_MAX)).await
    }

    /// `POST` with a JSON body and a limit in time.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        body: &Value,
        limit: Duration,
    ) -> Result<T, Failure> {
        self.call(self.request(Method::POST, segments).json(body).timeout(limit)).await
    }

    /// `DELETE`; the answer, if any, is not looked at.
    pub(crate) async fn delete(&self, segments: &[&str], query: &[(&str, String)]) -> Result<(), Failure> {
        self.send(self.request(Method::DELETE, segments).query(query).timeout(CALL_MAX)).await.map(drop)
    }

    /// What became of a call that got no answer.
    pub(crate) fn not_reached(&self, error: &reqwest::Error) -> Failure {
        let what = if error.is_timeout() && !error.is_connect() {
            format!("the server at {} did not answer in time", self.address())
        } else {
            format!("no server reached at {}", self.address())
        };
        Failure::new(Exit::Unreachable, what)
            .because(&std::io::Error::other(bare(error)))
            .hint("start one with `trainyard serve`, or name another with --server or TRAINYARD_SERVER")
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status();
        let body: Value = match read_capped(response).await {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
            Err(_) => Value::Null,
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        let code = text("code");
        let message = text("error").unwrap_or_else(|| format!("the server answered {status}"));
        let mut failure = Failure::new(exit_for(status, code.as_deref()), message);
        failure.detail = text("detail");
        failure.code = code;
        failure.passing = matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS);
        failure.oldest_seq = body.get("oldest_seq").and_then(Value::as_u64);
        failure.hint = hint_for(status, body.get("error").is_some());
        failure
    }
}

/// What was written wrongly is wrong usage, also where only the server could tell.
fn exit_for(status: StatusCode, code: Option<&str>) -> Exit {
    const MISWRITTEN: [&str; 6] = [
        "invalid_spec",
        "invalid_parameter",
        "unknown_parameter",
        "invalid_job_id",
        "invalid_secret_name",
        "unknown_provider",
    ];
    match status {
        StatusCode::NOT_FOUND => Exit::NotFound,
        StatusCode::BAD_REQUEST if code.is_some_and(|code| MISWRITTEN.contains(&code)) => Exit::Usage,
        _ => Exit::Failed,
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn bearer(token: &SecretString) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.expose_secret())).map_err(|_| {
        Failure::usage("the token holds characters that no token has")
            .hint("copy it again, or make a new one with `trainyard token create NAME --data DIR`")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn hint_for(status: StatusCode, ours: bool) -> Option<String> {
    let hint = match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "give a token with TRAINYARD_TOKEN; `trainyard token create NAME --data DIR` on the server's machine makes one"
        }
        StatusCode::SERVICE_UNAVAILABLE => "try again in a moment",
        _ if !ours => "is a Trainyard server at that address?",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// The causes of an HTTP error, innermost last, without the address that the message names already.
fn bare(error: &reqwest::Error) -> String {
    let mut cause = std::error::Error::source(error);
    let mut last = None;
    while let Some(error) = cause {
        last = Some(error.to_string());
        cause = error.source();
    }
    last.unwrap_or_else(|| error.to_string())
}

async fn read_capped(mut response: Response) -> Result<Bytes, reqwest::Error> {
    let mut all = bytes::BytesMut::new();
    while let Some(chunk) = response.chunk().await? {
        if all.len() + chunk.len() > ANSWER_BYTES_MAX {
            break;
        }
        all.extend_from_slice(&chunk);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod addresses {
    use super::*;

    #[test]
    fn a_name_cannot_lead_to_another_address() {
        let api = Api::at("http://127.0.0.1:9/base/", None).unwrap();
        let request = api.request(Method::GET, &["jobs", "../../x?y#z", "status"]).build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "http://127.0.0.1:9/base/api/training/jobs/..%2F..%2Fx%3Fy%23z/status"
        );
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = SecretString::from("tr_sesame".to_owned());
        let api = Api::at("http://127.0.0.1:9", Some(&token)).unwrap();
        let request = api.request(Method::GET, &["jobs"]);
        assert!(!format!("{api:?} {request:?}").contains("sesame"));
    }

    #[test]
    fn what_is_no_address_is_wrong_usage() {
        for wrong in ["127.0.0.1:8000", "ftp://x", "", "http://"] {
            assert_eq!(Api::at(wrong, None).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_the_remedy() {
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let api = Api::at(&format!("http://127.0.0.1:{port}"), None).unwrap();
        let failure = api.get::<Value>(&["jobs"], &[]).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        let exit = |status, code| exit_for(status, Some(code)).number();
        assert_eq!(exit(StatusCode::BAD_REQUEST, "invalid_spec"), 2);
        assert_eq!(exit(StatusCode::BAD_REQUEST, "wrong_state"), 1);
        assert_eq!(exit(StatusCode::NOT_FOUND, "job_not_found"), 4);
        let text = failure.to_string();
        assert!(text.contains(&port.to_string()) && text.contains("trainyard serve"), "{text}");
    }
}
