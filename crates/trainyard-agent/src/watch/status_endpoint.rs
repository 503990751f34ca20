//! The receiving end of Transformers' `KubeflowCallback`: progress and time left of every `Trainer`, with no change to it.
//!
//! The callback switches itself on when `KUBEFLOW_TRAINER_SERVER_URL` is set, also with `report_to="none"`, and POSTs
//! through `urllib` at most every five seconds; it takes a plain `http` URL, since it makes a TLS context only where
//! `KUBEFLOW_TRAINER_SERVER_CA_CERT` is not empty. Where a proxy is set in the environment, `NO_PROXY` must name
//! `127.0.0.1`, or `urllib` asks the proxy. The token is read from a file.
//!
//! Promises: listens on loopback only; a body over 64 kB, another token or path are refused; at most
//! [`CONNECTIONS_MAX`] connections of at most [`CONNECTION_S_MAX`] seconds.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use trainyard_domain::{MetricPoint, Progress};

use super::json;
use super::run::Input;
use super::source::{Source, Told};

/// As the receiver in kubeflow/trainer has it.
const BODY_BYTES_MAX: usize = 64 * 1024;
/// One training posts from one process, one connection each time.
const CONNECTIONS_MAX: usize = 8;
/// The callback gives up after 5 s.
const CONNECTION_S_MAX: u64 = 10;
/// Where it posts to.
const PATH: &str = "/v1/trainer-status";

/// The bound endpoint; serves once [`StatusEndpoint::serve`] runs.
pub(super) struct StatusEndpoint {
    listener: TcpListener,
    token: Arc<str>,
    token_file: PathBuf,
    url: String,
}

impl fmt::Debug for StatusEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusEndpoint").field("url", &self.url).finish_non_exhaustive()
    }
}

impl StatusEndpoint {
    /// Takes a free port and writes a new token to a file that only this user may read. Fails where either cannot be
    /// done. To be called within a tokio runtime.
    pub(super) fn bind(token_file: &Path) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}{PATH}", listener.local_addr()?);
        let token = new_token()?;
        write_private(token_file, &token)?;
        Ok(StatusEndpoint {
            listener: TcpListener::from_std(listener)?,
            token: token.into(),
            token_file: token_file.to_owned(),
            url,
        })
    }

    /// What to set for the training.
    pub(super) fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("KUBEFLOW_TRAINER_SERVER_URL", self.url.clone()),
            ("KUBEFLOW_TRAINER_SERVER_TOKEN", self.token_file.display().to_string()),
            // Empty, so that one of the machine's own does not lead to TLS.
            ("KUBEFLOW_TRAINER_SERVER_CA_CERT", String::new()),
        ]
    }

    /// Serves until dropped.
    pub(super) async fn serve(self, inputs: mpsc::Sender<Input>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let reader = Arc::new(Reader { token: self.token, inputs, last: Mutex::default() });
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: trying again at once would only burn the processor.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let reader = Arc::clone(&reader);
            connections.spawn(async move {
                let limit = Duration::from_secs(CONNECTION_S_MAX);
                let _cut_or_done = tokio::time::timeout(limit, reader.connection(stream)).await;
                drop(permit);
            });
        }
    }
}

/// What reads the posted statuses.
struct Reader {
    token: Arc<str>,
    inputs: mpsc::Sender<Input>,
    /// The values of the last status: the callback repeats every name's last value.
    last: Mutex<BTreeMap<String, f64>>,
}

impl Reader {
    async fn connection(self: Arc<Self>, stream: TcpStream) {
        let service = service_fn(|request| {
            let reader = Arc::clone(&self);
            async move { Ok::<_, Infallible>(reader.answer(request).await) }
        });
        let _broken_by_peer =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let status = match self.take(request).await {
            Ok(()) => StatusCode::OK,
            Err(status) => status,
        };
        let mut response = Response::new(Full::new(Bytes::from_static(b"{}")));
        *response.status_mut() = status;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        response
    }

    async fn take(&self, request: Request<Incoming>) -> Result<(), StatusCode> {
        let given = request.headers().get(AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
        let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
        aws_lc_rs::constant_time::verify_slices_are_equal(given, self.token.as_bytes())
            .map_err(|_| StatusCode::UNAUTHORIZED)?;
        if request.uri().path() != PATH {
            return Err(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::POST {
            return Err(StatusCode::METHOD_NOT_ALLOWED);
        }
        let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
        let body = body.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE)?.to_bytes();
        let text = std::str::from_utf8(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
        let told = self.read(text).ok_or(StatusCode::BAD_REQUEST)?;
        for told in told {
            self.inputs.send(Input::Told(told)).await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
        }
        Ok(())
    }

    fn read(&self, text: &str) -> Option<Vec<Told>> {
        let body = json::parse_object(text)?;
        let status = body.get("trainerStatus")?.as_object()?;
        let metrics = status.get("metrics").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let values: BTreeMap<String, f64> = metrics
            .iter()
            .filter_map(|metric| {
                Some((metric.get("name")?.as_str()?.to_owned(), json::number(metric.get("value")?)?))
            })
            .collect();
        let field = |name| status.get(name).and_then(json::number);
        let count = |name| values.get(name).copied().and_then(json::step).filter(|count| *count > 0);
        let (step, total_steps) = (count("current_step"), count("total_steps"));
        let by_steps = step.zip(total_steps).map(|(step, total)| step as f64 / total as f64);
        let progress = Progress {
            fraction: by_steps.or(field("progressPercentage").map(|percent| percent / 100.0)),
            eta_s: field("estimatedRemainingSeconds").and_then(json::seconds),
            step,
            total_steps,
        };
        let mut told = Vec::new();
        if progress != Progress::default() {
            told.push(Told::Progress(Source::Status, progress));
        }
        told.extend(self.news(values, step).map(|point| Told::Point(Source::Status, point)));
        Some(told)
    }

    /// The values that changed since the last status, under the names that everyone uses.
    fn news(&self, values: BTreeMap<String, f64>, step: Option<u64>) -> Option<MetricPoint> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news =
            |name: &String, value: &f64| last.get(name).is_none_or(|old| old.to_bits() != value.to_bits());
        let fresh = values
            .iter()
            .filter(|(name, value)| {
                !matches!(name.as_str(), "current_step" | "total_steps") && is_news(name, value)
            })
            .map(|(name, value)| match name.as_str() {
                "current_epoch" => ("epoch".to_owned(), *value),
                _ => (name.clone(), *value),
            });
        let point = MetricPoint { step, ..json::point_of(fresh) };
        *last = values;
        (!point.values.is_empty()).then_some(point)
    }
}

fn new_token() -> io::Result<String> {
    Ok(hex::encode(crate::random::bytes::<32>()?))
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    // One that an earlier start left is not written through: it may have other permissions.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)?.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A status as the callback of Transformers 5.23 posts it.
    const STATUS: &str = r#"{"trainerStatus": {"lastUpdatedTime": "2026-11-23T15:00:00.123456+00:00",
        "progressPercentage": 12, "estimatedRemainingSeconds": 73, "metrics": [
        {"name": "loss", "value": "2.345678"}, {"name": "grad_norm", "value": "nan"},
        {"name": "current_step", "value": "60"}, {"name": "total_steps", "value": "500"},
        {"name": "current_epoch", "value": "0.12"}]}}"#;

    async fn post(url: &str, token: &str, body: &str) -> String {
        let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!(
            "POST /{path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // Refused before it is read, a large body meets a closed connection.
        let _refused = stream.write_all(body.as_bytes()).await;
        let mut answer = Vec::new();
        let _reset = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn takes_what_transformers_posts_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = StatusEndpoint::bind(&dir.path().join("token")).unwrap();
        assert!(!format!("{endpoint:?}").contains(&*endpoint.token));
        let env: BTreeMap<_, _> = endpoint.env().into_iter().collect();
        let url = env["KUBEFLOW_TRAINER_SERVER_URL"].clone();
        let token = std::fs::read_to_string(&env["KUBEFLOW_TRAINER_SERVER_TOKEN"]).unwrap();
        let (sender, mut inputs) = mpsc::channel(16);
        let server = tokio::spawn(endpoint.serve(sender));

        assert_eq!(post(&url, &token, STATUS).await, "HTTP/1.1 200 OK");
        let progress =
            Progress { fraction: Some(0.12), eta_s: Some(73), step: Some(60), total_steps: Some(500) };
        assert_eq!(inputs.recv().await, Some(Input::Told(Told::Progress(Source::Status, progress))));
        let Some(Input::Told(Told::Point(Source::Status, point))) = inputs.recv().await else { panic!() };
        assert_eq!(point.step, Some(60));
        assert_eq!(point.values.keys().collect::<Vec<_>>(), ["epoch", "grad_norm", "loss"]);

        assert_eq!(post(&url, "wrong", STATUS).await, "HTTP/1.1 401 Unauthorized");
        assert_eq!(post(&url, &token, "{}").await, "HTTP/1.1 400 Bad Request");
        assert_eq!(post(&url, &token, "{\"trainerStatus\":").await, "HTTP/1.1 400 Bad Request");
        assert_eq!(post(&format!("{url}/x"), &token, STATUS).await, "HTTP/1.1 404 Not Found");
        let large = post(&url, &token, &" ".repeat(BODY_BYTES_MAX + 1)).await;
        assert!(large.is_empty() || large == "HTTP/1.1 413 Payload Too Large", "{large}");
        assert_eq!(post(&url, &token, STATUS).await, "HTTP/1.1 200 OK");
        assert!(matches!(inputs.recv().await, Some(Input::Told(Told::Progress(..)))));
        assert!(inputs.try_recv().is_err(), "the same values again are no point");
        server.abort();
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn token_is_for_this_user_only() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old").unwrap();
        let endpoint = StatusEndpoint::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), *endpoint.token);
    }
}
