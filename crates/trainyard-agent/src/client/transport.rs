//! Signed requests: the greeting is asked once and kept, its clock is the one that signatures are made by.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use sha2::Digest;
use trainyard_connector::{AgentGreeting, Arch, ConnectorError, ErrorKind};
use trainyard_domain::{AttemptNumber, JobId, OrderName};

use super::push::{Target, push};
use super::{AgentSupply, EXEC};
use crate::protocol::{
    ATTEMPT_QUERY, BOOT_HEADER, CODE_BOOT_CHANGED, CODE_CLOCK, CODE_MISMATCH, CODE_OFFSET, CODE_REPLAYED,
    CODE_UNSUPPORTED, DIGEST_HEADER, ErrorBody, SIGNATURE_HEADER, TIME_HEADER, attempt_word, string_to_sign,
};
use crate::{SigningKey, clock};

/// A connection that is not there after this will not come.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// The greeting is answered from memory.
const GREET_WITHIN: Duration = Duration::from_secs(10);
/// Shorter than the agent keeps an idle connection.
pub(super) const IDLE: Duration = Duration::from_secs(5);
/// Before the one further try of a connection that was refused: an agent may be on its way.
const REFUSED_WAIT: Duration = Duration::from_millis(50);
/// Most bytes of an answer: what the agent sends at most, and the text around it.
const ANSWER_BYTES_MAX: usize = (33 << 20) as usize;

/// An agent that was just sent answers within this time: it is checked, started, and listens.
const STARTS_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks whether it does.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// How one agent is spoken to.
#[derive(Debug, Clone)]
pub(super) struct Transport {
    inner: Arc<Inner>,
    /// Who sends the agent where the machine still waits for it.
    supply: Option<(AgentSupply, Arch)>,
    /// The attempt that calls are meant for, as it stands in a query.
    attempt: Option<String>,
}

#[derive(Debug)]
struct Inner {
    base: String,
    http: reqwest::Client,
    key: SigningKey,
    order: OrderName,
    known: Mutex<Option<Known>>,
    /// The time of the last request, in milliseconds.
    last_time: AtomicI64,
}

/// What the greeting told.
#[derive(Debug, Clone)]
struct Known {
    boot_id: String,
    /// The agent's clock less ours, in milliseconds.
    ahead_ms: i64,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    method: Method,
    target: &'a str,
    within: Duration,
    body: Bytes,
    range: Option<String>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: Method, target: &'a str) -> Call<'a> {
        Call { method, target, within: Duration::from_secs(15), body: Bytes::new(), range: None }
    }

    pub(super) fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    pub(super) fn body(mut self, body: Bytes) -> Self {
        self.body = body;
        self
    }

    pub(super) fn range(mut self, range: String) -> Self {
        self.range = Some(range);
        self
    }
}

impl Transport {
    pub(super) fn new(
        base_url: &str,
        http: Option<reqwest::Client>,
        key: SigningKey,
        order: OrderName,
    ) -> Result<Transport, ConnectorError> {
        let url = Url::parse(base_url).map_err(|error| {
            ConnectorError::refused(ErrorKind::Invalid, format!("`{base_url}` is not a URL")).because(error)
        })?;
        let http = match http {
            Some(http) => http,
            None => shared_client(is_loopback(&url))?,
        };
        let base = url.as_str().trim_end_matches('/').to_owned();
        Ok(Transport {
            inner: Arc::new(Inner {
                base,
                http,
                key,
                order,
                known: Mutex::new(None),
                last_time: AtomicI64::new(i64::MIN),
            }),
            supply: None,
            attempt: None,
        })
    }

    pub(super) fn supplied(mut self, supply: AgentSupply, arch: Arch) -> Transport {
        self.supply = Some((supply, arch));
        self
    }

    /// Calls are meant for that attempt from now on; a clone made before goes on as it was.
    pub(super) fn serve(&mut self, job: &JobId, attempt: AttemptNumber) {
        self.attempt = Some(attempt_word(job, attempt));
    }

    /// Asks for the greeting and keeps it. Where the machine waits for its agent, that is sent first; one that takes
    /// long goes on by itself, and the answer is that it is on its way.
    pub(super) async fn greet(&self) -> Result<AgentGreeting, ConnectorError> {
        let (status, body) = self.hello().await?;
        let Some(awaited) = awaits(status, &body) else { return self.keep_greeting(status, &body) };
        let Some((supply, arch)) = &self.supply else {
            let text = "the machine waits for its agent";
            return Err(ConnectorError::refused(ErrorKind::Unreachable, text));
        };
        let target = Target {
            base: self.inner.base.clone(),
            http: self.inner.http.clone(),
            order: self.inner.order.clone(),
            arch: *arch,
            awaited,
        };
        push(supply, target).await?;
        let starts = async {
            loop {
                match self.hello().await {
                    Ok((StatusCode::OK, body)) => return self.keep_greeting(StatusCode::OK, &body),
                    // Between the receiver's end and the agent's beginning nobody listens, and a proxy says so.
                    Ok(_) | Err(_) => tokio::time::sleep(LOOK_EVERY).await,
                }
            }
        };
        tokio::time::timeout(STARTS_WITHIN, starts).await.unwrap_or_else(|_| {
            let text = format!("the agent of {} was sent and does not answer yet", self.inner.order);
            Err(ConnectorError::refused(ErrorKind::Unreachable, text))
        })
    }

    async fn hello(&self) -> Result<(StatusCode, Bytes), ConnectorError> {
        let url = format!("{}/v1/hello", self.inner.base);
        self.perform(|| self.inner.http.get(&url).timeout(GREET_WITHIN)).await
    }

    fn keep_greeting(&self, status: StatusCode, body: &[u8]) -> Result<AgentGreeting, ConnectorError> {
        if status != StatusCode::OK {
            return Err(refusal(status, body));
        }
        let greeting: AgentGreeting = super::read(body)?;
        if greeting.order != self.inner.order.as_str() {
            let text = format!("the agent there serves {}, not {}", greeting.order, self.inner.order);
            return Err(ConnectorError::refused(ErrorKind::NotFound, text));
        }
        let ahead_ms = greeting.time.timestamp_millis() - clock::now().timestamp_millis();
        self.inner.last_time.store(i64::MIN, Ordering::Relaxed);
        self.keep(Some(Known { boot_id: greeting.boot_id.clone(), ahead_ms }));
        Ok(greeting)
    }

    /// Sends a signed request and gives the body of its answer. A clock that ran away is asked for once more.
    pub(super) async fn send(&self, call: Call<'_>) -> Result<Bytes, ConnectorError> {
        let mut again = true;
        loop {
            let known = self.known().await?;
            let (status, body) = self.perform(|| self.signed(&call, &known)).await?;
            if status.is_success() {
                return Ok(body);
            }
            let is = |code: &str| code_of(&body).as_deref() == Some(code);
            if is(CODE_BOOT_CHANGED) || is(CODE_CLOCK) {
                self.keep(None);
            }
            // Another client of the same order was a millisecond's twin, or a proxy repeated what it may repeat.
            let is_twin = is(CODE_REPLAYED) && call.target != EXEC;
            if !((is(CODE_CLOCK) || is_twin) && std::mem::take(&mut again)) {
                return Err(refusal(status, &body));
            }
        }
    }

    fn signed(&self, call: &Call<'_>, known: &Known) -> reqwest::RequestBuilder {
        let time = self.next_time(known.ahead_ms).to_string();
        let (order, method) = (self.inner.order.as_str(), call.method.as_str());
        let target = match &self.attempt {
            Some(attempt) => {
                let joint = if call.target.contains('?') { '&' } else { '?' };
                format!("{}{joint}{ATTEMPT_QUERY}={attempt}", call.target)
            }
            None => call.target.to_owned(),
        };
        let message = string_to_sign(order, &known.boot_id, method, &target, &time, &call.body);
        let signature = BASE64_STANDARD.encode(self.inner.key.sign(message.as_bytes()));
        let url = format!("{}{target}", self.inner.base);
        let mut request = self.inner.http.request(call.method.clone(), url).timeout(call.within);
        if let Some(range) = &call.range {
            request = request.header(CONTENT_RANGE, range);
        }
        request
            .header(TIME_HEADER, time)
            .header(BOOT_HEADER, &known.boot_id)
            .header(SIGNATURE_HEADER, signature)
            .body(call.body.clone())
    }

    /// The agent's time, never the same twice: it takes what changes something only once.
    fn next_time(&self, ahead_ms: i64) -> i64 {
        let now = clock::now().timestamp_millis() + ahead_ms;
        let later = |last: i64| Some(now.max(last + 1));
        let last = self.inner.last_time.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
        last.map_or(now, |last| now.max(last + 1))
    }

    /// Sends; one more try where the connection was refused, which sends nothing.
    async fn perform(
        &self,
        make: impl Fn() -> reqwest::RequestBuilder,
    ) -> Result<(StatusCode, Bytes), ConnectorError> {
        let response = match make().send().await {
            Err(error) if error.is_connect() && !error.is_timeout() => {
                tokio::time::sleep(REFUSED_WAIT).await;
                make().send().await
            }
            other => other,
        };
        let mut response = response.map_err(|error| unreached(&self.inner.order, error))?;
        let status = response.status();
        // Of the right size at once: one that grows is copied, and holds twice as much meanwhile.
        let announced = response.content_length().and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
        let mut body = Vec::with_capacity(announced.min(ANSWER_BYTES_MAX));
        while let Some(piece) = response.chunk().await.map_err(|error| unreached(&self.inner.order, error))? {
            if body.len() + piece.len() > ANSWER_BYTES_MAX {
                return Err(ConnectorError::unknown(ErrorKind::Internal, "the agent's answer is too long"));
            }
            body.extend_from_slice(&piece);
        }
        if let Some(digest) = response.headers().get(DIGEST_HEADER)
            && digest.as_bytes() != hex::encode(sha2::Sha256::digest(&body)).as_bytes()
        {
            let text = "the agent's answer changed on its way";
            return Err(ConnectorError::unknown(ErrorKind::Unreachable, text));
        }
        Ok((status, body.into()))
    }

    async fn known(&self) -> Result<Known, ConnectorError> {
        let known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known {
            return Ok(known);
        }
        self.greet().await?;
        let known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        known.ok_or_else(|| ConnectorError::refused(ErrorKind::Restarted, "the agent restarts"))
    }

    fn keep(&self, known: Option<Known>) {
        *self.inner.known.lock().unwrap_or_else(PoisonError::into_inner) = known;
    }
}

/// What a machine that has no agent yet answers.
#[derive(Deserialize)]
struct Awaits {
    awaits: String,
}

fn awaits(status: StatusCode, body: &[u8]) -> Option<String> {
    let told =
        (status == StatusCode::SERVICE_UNAVAILABLE).then(|| serde_json::from_slice::<Awaits>(body).ok());
    Some(told??.awaits)
}

/// Not sent, or it may have happened.
pub(super) fn unreached(order: &OrderName, error: reqwest::Error) -> ConnectorError {
    let text = format!("the agent of {order} was not reached");
    let sent = !(error.is_connect() || error.is_builder());
    // The URL holds nothing secret, but nothing useful either.
    let error = error.without_url();
    if sent {
        ConnectorError::unknown(ErrorKind::Unreachable, text).because(error)
    } else {
        ConnectorError::refused(ErrorKind::Unreachable, text).because(error)
    }
}

fn code_of(body: &[u8]) -> Option<String> {
    serde_json::from_slice::<ErrorBody>(body).ok().map(|body| body.code)
}

/// What the agent, or a proxy before it, answered instead.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> ConnectorError {
    let Ok(told) = serde_json::from_slice::<ErrorBody>(body) else {
        // A proxy's own page: the agent may or may not have got the request.
        let text = format!("something before the agent answered {status}");
        return ConnectorError::unknown(ErrorKind::Unreachable, text);
    };
    let kind = match (status, told.code.as_str()) {
        (_, CODE_BOOT_CHANGED) => ErrorKind::Restarted,
        (_, CODE_MISMATCH) => ErrorKind::Mismatch,
        (_, CODE_UNSUPPORTED) => ErrorKind::Unsupported,
        (_, CODE_OFFSET) => ErrorKind::Internal,
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => ErrorKind::Unauthorized,
        (StatusCode::NOT_FOUND, _) => ErrorKind::NotFound,
        (StatusCode::TOO_MANY_REQUESTS, _) => ErrorKind::RateLimited,
        (status, _) if status.is_client_error() => ErrorKind::Invalid,
        _ => ErrorKind::Internal,
    };
    let text = format!("the agent answered: {}", told.error);
    if status.is_client_error() {
        ConnectorError::refused(kind, text)
    } else {
        ConnectorError::unknown(kind, text)
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// One client per process and way: making one reads the system's certificates.
fn shared_client(loopback: bool) -> Result<reqwest::Client, ConnectorError> {
    static DIRECT: OnceLock<reqwest::Client> = OnceLock::new();
    static OUTSIDE: OnceLock<reqwest::Client> = OnceLock::new();
    let slot = if loopback { &DIRECT } else { &OUTSIDE };
    if let Some(client) = slot.get() {
        return Ok(client.clone());
    }
    let builder = reqwest::Client::builder()
        // Networks before a machine refuse programs that do not say who they are.
        .user_agent(concat!("trainyard/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_WITHIN)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none());
    let builder = if loopback { builder.no_proxy() } else { builder };
    let client = builder.build().map_err(|error| {
        ConnectorError::refused(ErrorKind::Internal, "no HTTP client can be made").because(error)
    })?;
    Ok(slot.get_or_init(|| client).clone())
}
