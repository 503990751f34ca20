//! The loop of tries around one call.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Url};
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep};
use trainyard_domain::ProviderName;

use super::attempt::{Complete, Failure, Reading, attempt};
use super::breaker::{Breakers, Permit};
use super::pace::Pacer;
use super::retry::{Outcome, Tries};
use super::{Answer, Auth, Call, HttpConfig, Repeat, WAIT_MAX};
use crate::{ConnectorError, Effect, ErrorKind};

/// Shorter than servers keep an idle connection: one that they close while we send costs a try.
const IDLE: Duration = Duration::from_secs(5);
/// The operation that fetching from elsewhere counts as.
const ELSEWHERE: &str = "elsewhere";

/// Speaks to one vendor with one key. Cheap to clone; clones share connections, pace and breakers. A call may be dropped
/// at any `.await`: it may have been sent then.
#[derive(Clone)]
pub struct HttpClient {
    inner: Arc<Inner>,
}

struct Inner {
    provider: ProviderName,
    base: Url,
    authorization: Option<HeaderValue>,
    within: Duration,
    answer_bytes_max: usize,
    too_many_is_refusal: bool,
    /// Keeps connections.
    pooled: Client,
    /// Makes a connection for every order: a kept one may be closed by the other side just as the order goes out, and
    /// then nobody knows whether it arrived.
    fresh: Client,
    pacer: Arc<Pacer>,
    breakers: Breakers,
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.inner.base.host_str().unwrap_or_default();
        f.debug_struct("HttpClient").field("provider", &self.inner.provider).field("host", &host).finish()
    }
}

/// How a request is sent.
#[derive(Debug, Clone, Copy)]
struct Way {
    op: &'static str,
    repeat: Repeat,
    /// What a failure after sending leaves open.
    effect: Effect,
    reading: Reading,
}

impl HttpClient {
    /// A client within these limits. Sends nothing.
    ///
    /// # Errors
    /// `Invalid` for an address that is no HTTP base URL or a key that no header can hold; `Internal` where no client
    /// can be made.
    pub fn new(config: HttpConfig) -> Result<HttpClient, ConnectorError> {
        let base = base_url(&config)?;
        let authorization = authorization(&config)?;
        let make = |idle| {
            let builder = Client::builder()
                .user_agent(concat!("trainyard/", env!("CARGO_PKG_VERSION")))
                .connect_timeout(config.connect_within)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(idle)
                .tcp_nodelay(true)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false);
            let builder = if is_loopback(&base) { builder.no_proxy() } else { builder };
            builder.build().map_err(|error| {
                let error = error.without_url();
                ConnectorError::refused(ErrorKind::Internal, "no HTTP client can be made").because(error)
            })
        };
        let (pooled, fresh) = (make(8)?, make(0)?);
        Ok(HttpClient {
            inner: Arc::new(Inner {
                pacer: Pacer::of(&config),
                breakers: Breakers::default(),
                provider: config.provider,
                base,
                authorization,
                within: config.within,
                answer_bytes_max: config.answer_bytes_max,
                too_many_is_refusal: config.too_many_is_refusal,
                pooled,
                fresh,
            }),
        })
    }

    /// Makes a call. Any status that repeating did not clear comes back as an answer.
    ///
    /// # Errors
    /// `Unreachable` for no answer, half of one, one that took or grew too long, and while the operation is left alone;
    /// `RateLimited` where its turn would come too late; `Invalid` for a path that is none. Effect `None` where it was
    /// surely not sent, or only reads; else `Unknown`.
    pub async fn call(&self, call: Call) -> Result<Answer, ConnectorError> {
        let way = self.way(&call, call.within.unwrap_or(self.inner.within), None);
        let request = self.request(&call)?.header(ACCEPT, "application/json");
        self.send(request, way).await
    }

    /// Reads a stream that never ends by itself: what came until nothing came for `silence`, or `at_most` has passed, or
    /// the limit of bytes is reached. A stream that has not begun by then is empty, with status 204. Tried once.
    ///
    /// # Errors
    /// As [`HttpClient::call`], as long as no answer has begun.
    pub async fn read_until_silent(
        &self,
        call: Call,
        silence: Duration,
        at_most: Duration,
    ) -> Result<Answer, ConnectorError> {
        let mut way = self.way(&call, at_most, Some(silence));
        way.repeat = Repeat::Never;
        let request = self.request(&call)?.header(ACCEPT, "text/event-stream");
        self.send(request, way).await
    }

    /// Reads a URL that the vendor gave out, without showing the key. The URL may itself be a key: no message holds it.
    ///
    /// # Errors
    /// As [`HttpClient::call`]; `Invalid` for what is no URL, or not `https` although the vendor itself is.
    pub async fn get_elsewhere(&self, url: &str) -> Result<Answer, ConnectorError> {
        let inner = &self.inner;
        let good =
            |url: &Url| url.scheme() == "https" || (url.scheme() == "http" && inner.base.scheme() == "http");
        let url = Url::parse(url).ok().filter(good).ok_or_else(|| {
            let text = format!("{} gave an address to fetch from that is none", inner.provider);
            ConnectorError::refused(ErrorKind::Invalid, text)
        })?;
        let way = self.way(&Call::get(ELSEWHERE, "/"), inner.within, None);
        self.send(inner.pooled.get(url), way).await
    }

    fn way(&self, call: &Call, within: Duration, silence: Option<Duration>) -> Way {
        let effect = if call.method == Method::GET { Effect::None } else { Effect::Unknown };
        let reading = Reading { within, bytes_max: self.inner.answer_bytes_max, silence };
        Way { op: call.op, repeat: call.repeat, effect, reading }
    }

    fn request(&self, call: &Call) -> Result<RequestBuilder, ConnectorError> {
        let inner = &self.inner;
        let client = match call.repeat {
            Repeat::Freely => &inner.pooled,
            Repeat::Never => &inner.fresh,
        };
        let mut request = client.request(call.method.clone(), self.url(call)?);
        if let Some(authorization) = &inner.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(body) = &call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        Ok(request)
    }

    /// The path stays below the base URL, whatever an id in it holds.
    fn url(&self, call: &Call) -> Result<Url, ConnectorError> {
        let mut url = self.inner.base.clone();
        let path = format!("{}{}", url.path().trim_end_matches('/'), call.path);
        url.set_path(&path);
        if !call.path.starts_with('/') || url.path() != path {
            let text =
                format!("the path of `{}` is none: it is not percent-encoded or leads elsewhere", call.op);
            return Err(ConnectorError::refused(ErrorKind::Invalid, text));
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    async fn send(&self, request: RequestBuilder, way: Way) -> Result<Answer, ConnectorError> {
        let mut tries = Tries::new(way.repeat, self.inner.too_many_is_refusal);
        let (mut waited, mut on_the_line) = (Duration::ZERO, Duration::ZERO);
        let mut last = None;
        loop {
            let permit = match self.turn(way.op, &mut waited).await {
                Ok(permit) => permit,
                // What the last try brought says more than that there was no further one.
                Err(refused) => return last.unwrap_or(Err(refused)),
            };
            let mut reading = way.reading;
            if way.repeat == Repeat::Freely {
                reading.within = reading.within.saturating_sub(on_the_line);
            }
            let again = request.try_clone().ok_or_else(|| {
                ConnectorError::refused(ErrorKind::Internal, "a request could not be written twice")
            })?;
            let begun = Instant::now();
            let result = attempt(again, reading).await;
            on_the_line += begun.elapsed();
            let outcome = result.as_ref().map_or_else(Failure::outcome, Complete::outcome);
            permit.verdict(outcome.is_alive(), Instant::now());
            self.note(way.op, outcome, begun.elapsed());
            let pause = tries.after(outcome, self.inner.pacer.every(way.op));
            let result =
                result.map(|complete| self.answer(way, complete)).map_err(|failure| self.error(way, failure));
            let Some(pause) = pause.filter(|pause| waited + *pause <= WAIT_MAX) else { return result };
            if way.repeat == Repeat::Freely && on_the_line >= way.reading.within {
                return result;
            }
            sleep(pause).await;
            waited += pause;
            last = Some(result);
        }
    }

    /// Waits for the operation's turn and then for one of everybody's, and gets the breaker's leave.
    async fn turn(&self, op: &'static str, waited: &mut Duration) -> Result<Permit<'_>, ConnectorError> {
        let inner = &self.inner;
        // Nobody waits for a turn that the breaker would refuse.
        drop(self.enter(op)?);
        for bucket in [op, "*"] {
            let turn = inner.pacer.turn(bucket, Instant::now(), WAIT_MAX.saturating_sub(*waited));
            let wait = turn.map_err(|wait| {
                let text = format!(
                    "the next turn to ask {} for `{op}` comes only in {} s",
                    inner.provider,
                    wait.as_secs()
                );
                ConnectorError::refused(ErrorKind::RateLimited, text)
            })?;
            if !wait.is_zero() {
                sleep(wait).await;
                *waited += wait;
            }
        }
        self.enter(op)
    }

    fn enter(&self, op: &'static str) -> Result<Permit<'_>, ConnectorError> {
        let inner = &self.inner;
        inner.breakers.enter(op, Instant::now()).map_err(|wait| {
            let text = format!(
                "{} failed `{op}` several times in a row; it is asked again in {} s",
                inner.provider,
                wait.as_secs() + 1
            );
            ConnectorError::refused(ErrorKind::Unreachable, text)
        })
    }

    fn note(&self, op: &'static str, outcome: Outcome, took: Duration) {
        if let Outcome::Answered(429, Some(wait)) = outcome {
            self.inner.pacer.hold(op, Instant::now(), wait);
        }
        let provider = &self.inner.provider;
        tracing::debug!(%provider, op, ?outcome, took_ms = took.as_millis(), "a vendor was asked");
    }

    fn answer(&self, way: Way, complete: Complete) -> Answer {
        Answer {
            status: complete.status,
            headers: complete.headers,
            body: complete.body,
            provider: self.inner.provider.clone(),
            op: way.op,
            effect: way.effect,
        }
    }

    fn error(&self, way: Way, failure: Failure) -> ConnectorError {
        let (provider, op) = (&self.inner.provider, way.op);
        match failure {
            Failure::NotSent(source) => {
                let text = format!("{provider} was not reached for `{op}`: nothing was sent");
                ConnectorError::refused(ErrorKind::Unreachable, text).because(source)
            }
            other => {
                let text = format!("{provider} gave no whole answer to `{op}`");
                let error = ConnectorError::unknown(ErrorKind::Unreachable, text).because(other);
                ConnectorError { effect: way.effect, ..error }
            }
        }
    }
}

fn base_url(config: &HttpConfig) -> Result<Url, ConnectorError> {
    let bad = |what: &str| {
        let text = format!("the address of {} {what}", config.provider);
        ConnectorError::refused(ErrorKind::Invalid, text)
    };
    let url = Url::parse(&config.base_url).map_err(|error| bad("is no URL").because(error))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(bad("is no HTTP URL"));
    }
    if !url.username().is_empty()
        || url.password().is_some()
        || url.query().is_some()
        || url.fragment().is_some()
    {
        return Err(bad("holds more than scheme, host, port and path"));
    }
    Ok(url)
}

fn authorization(config: &HttpConfig) -> Result<Option<HeaderValue>, ConnectorError> {
    let text = match &config.auth {
        Auth::Bearer(key) => format!("Bearer {}", key.expose_secret()),
        Auth::BasicUser(key) => {
            format!("Basic {}", BASE64_STANDARD.encode(format!("{}:", key.expose_secret())))
        }
        Auth::None => return Ok(None),
    };
    let mut value = HeaderValue::try_from(text).map_err(|_| {
        let text = format!("the key of {} holds characters that no key has", config.provider);
        ConnectorError::refused(ErrorKind::Invalid, text)
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
