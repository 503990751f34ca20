//! The one time that an agent speaks to somebody: to the vendor of its own machine, with the key that the vendor put into
//! that machine and that opens nothing else.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use trainyard_connector::{HttpCall, SelfRemoval};

/// A call may take this long, from the name's look-up to the answer.
const WITHIN: Duration = Duration::from_secs(30);
/// RunPod's network refuses programs that name themselves like a library.
const AGENT: &str = concat!("trainyard-agent/", env!("CARGO_PKG_VERSION"));
/// The order's variables: how the machine reads and removes itself, and how long it waits for a first word.
const PROBE: &str = "TRAINYARD_BOOT_PROBE";
const REMOVE: &str = "TRAINYARD_BOOT_REMOVE";
const LEASE: &str = "TRAINYARD_BOOT_LEASE";

/// How this machine removes itself: the calls and what they need of its environment.
#[derive(Debug)]
pub(crate) struct Vendor {
    removal: SelfRemoval,
    /// Of the machine's environment, the variables that the calls name and no others.
    values: BTreeMap<String, SecretString>,
}

impl Vendor {
    /// What the order says; none where the machine has no means.
    pub(crate) fn of(environment: &[(OsString, OsString)]) -> Option<Vendor> {
        let value = |name: &str| text(environment, name);
        let call = |name: &str| value(name).and_then(|text| text.parse::<HttpCall>().ok());
        let removal = SelfRemoval { probe: call(PROBE)?, remove: call(REMOVE)? };
        let names = removal.probe.variables().chain(removal.remove.variables());
        let values = names.filter_map(|name| Some((name.to_owned(), value(name)?.into()))).collect();
        Some(Vendor { values, removal })
    }

    /// Reads the machine itself: whether its key and the way are good.
    ///
    /// # Errors
    /// Why not, in words that hold no value of the environment.
    pub(crate) async fn probe(&self) -> Result<(), String> {
        match self.call(&self.removal.probe).await? {
            200..=299 => Ok(()),
            status => Err(format!("its reading of itself was answered with {status}")),
        }
    }

    /// Asks for the machine's removal.
    ///
    /// # Errors
    /// As for [`Vendor::probe`].
    pub(crate) async fn remove(&self) -> Result<(), String> {
        match self.call(&self.removal.remove).await? {
            200..=299 | 404 | 410 => Ok(()),
            status => Err(format!("its removal was answered with {status}")),
        }
    }

    async fn call(&self, call: &HttpCall) -> Result<u16, String> {
        let value = |name: &str| self.values.get(name).map(|value| value.expose_secret().to_owned());
        let url = call.url(value).ok_or("the machine was not told its own id")?;
        let token = self.values.get(call.bearer());
        let token = token.ok_or_else(|| format!("the machine has no {}", call.bearer()))?;
        match tokio::time::timeout(WITHIN, send(call.method(), &url, token)).await {
            Ok(Ok(status)) => Ok(status),
            Ok(Err(error)) => Err(format!("its vendor is not reached: {error}")),
            Err(_) => Err(format!("its vendor did not answer within {} s", WITHIN.as_secs())),
        }
    }
}

/// How long a machine waits for a first word: the order's, else `usual`.
pub(crate) fn unstarted_for(environment: &[(OsString, OsString)], usual: Duration) -> Duration {
    let told = text(environment, LEASE).and_then(|seconds| seconds.parse().ok());
    told.map_or(usual, Duration::from_secs)
}

fn text(environment: &[(OsString, OsString)], name: &str) -> Option<String> {
    let found = environment.iter().find(|(of, _)| of == name)?;
    found.1.to_str().map(str::to_owned).filter(|value| !value.is_empty())
}

async fn send(method: &str, url: &str, token: &SecretString) -> io::Result<u16> {
    let invalid = |what: &'static str| io::Error::new(io::ErrorKind::InvalidInput, what);
    let uri: Uri = url.parse().map_err(|_| invalid("its address is none"))?;
    let host = uri.host().ok_or_else(|| invalid("its address has no host"))?.to_owned();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    let mut bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .map_err(|_| invalid("its key cannot be sent"))?;
    bearer.set_sensitive(true);
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let request = Request::builder()
        .method(method)
        .uri(uri.path())
        .header(HOST, authority)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/json")
        .header(CONNECTION, "close")
        .header(AUTHORIZATION, bearer)
        .body(Empty::<Bytes>::new())
        .map_err(io::Error::other)?;
    if !is_tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host).map_err(|_| invalid("its address has no host"))?;
    exchange(connector()?.connect(name, stream).await?, request).await
}

/// Sends it and gives the answer's status; what else it says is of no use here.
async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> io::Result<u16> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let answer = async { sender.send_request(request).await.map_err(io::Error::other) };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => Ok(answer?.status().as_u16()),
        ended = connection => {
            // The answer may have come with the connection's last bytes.
            ended.map_err(io::Error::other)?;
            Ok(answer.await?.status().as_u16())
        }
    }
}

/// The authorities are in the program: an image for training may have none.
fn connector() -> io::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
