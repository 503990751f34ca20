//! Who may speak to the server: the rules for `Host` and `Origin`, and where a token may stand.
//!
//! A page of the web must not be able to drive a server on the user's own machine (DNS rebinding, cross-site
//! requests), so `Host` must be a name that is ours and `Origin`, where a browser sends it, the same or allowed.

use std::net::IpAddr;

use actix_web::http::header::{self, HeaderMap};

use crate::config::ServerConfig;

/// The names and origins that are good.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    hosts: Vec<String>,
    public_origin: Option<String>,
    origins: Vec<String>,
}

/// What an `Origin` is to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginCheck {
    /// Not sent, or our own.
    Same,
    /// Another one that the configuration allows: it gets CORS headers.
    Allowed,
    /// Refused.
    Foreign,
}

impl Rules {
    pub(crate) fn new(config: &ServerConfig) -> Rules {
        let public_origin = config.public_url.as_deref().and_then(origin_of_url);
        let mut hosts: Vec<String> =
            config.allowed_hosts.iter().map(|host| bare_host(host).to_ascii_lowercase()).collect();
        hosts.extend(public_origin.as_deref().and_then(authority_of).map(|a| bare_host(&a).to_owned()));
        let origins = config.allowed_origins.iter().map(|o| normal_origin(o)).collect();
        Rules { hosts, public_origin, origins }
    }

    /// Whether that value of `Host` is one of ours.
    pub(crate) fn host_is_good(&self, host: &str) -> bool {
        let host = bare_host(host).to_ascii_lowercase();
        is_loopback(&host) || self.hosts.contains(&host)
    }

    /// What that `Origin` is to a request for that `Host`.
    pub(crate) fn origin(&self, origin: &str, host: &str) -> OriginCheck {
        let origin = normal_origin(origin);
        if self.origins.contains(&origin) {
            return OriginCheck::Allowed;
        }
        if self.public_origin.as_ref() == Some(&origin) {
            return OriginCheck::Same;
        }
        let Some(from) = authority_of(&origin) else { return OriginCheck::Foreign };
        let default_port = if origin.starts_with("https:") { "443" } else { "80" };
        let host = host.to_ascii_lowercase();
        let (from_port, to_port) = (port(&from).unwrap_or(default_port), port(&host).unwrap_or(default_port));
        let (from, to) = (bare_host(&from), bare_host(&host));
        // `localhost`, `127.0.0.1` and `[::1]` of one port are one server.
        let same_name = from == to || (is_loopback(from) && is_loopback(to));
        if same_name && from_port == to_port { OriginCheck::Same } else { OriginCheck::Foreign }
    }
}

/// The token of a request: `Authorization: Bearer`, or the WebSocket subprotocol `bearer.TOKEN`. Never the URL.
pub(crate) fn token(headers: &HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        return scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned());
    }
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut words = offered.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).map(str::trim);
    words.find_map(|word| word.strip_prefix("bearer.")).map(str::to_owned)
}

/// Whether a path is served without a token: liveness, readiness, static files, the agent's binary.
pub(crate) fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/healthz" | "/readyz" | "/openapi.json" | "/docs" | "/favicon.ico")
        || path.starts_with("/docs/")
        || path.starts_with("/assets/")
        || path.starts_with("/agent/")
}

/// A host without its port; brackets of IPv6 stay.
fn bare_host(host: &str) -> &str {
    let host = host.trim();
    match (host.starts_with('['), host.rfind(']'), host.rfind(':')) {
        (true, Some(end), _) => &host[..=end],
        (false, _, Some(colon)) => &host[..colon],
        _ => host,
    }
}

fn port(authority: &str) -> Option<&str> {
    authority[bare_host(authority).len()..].strip_prefix(':').filter(|port| !port.is_empty())
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn normal_origin(origin: &str) -> String {
    origin.trim().trim_end_matches('/').to_ascii_lowercase()
}

fn origin_of_url(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let authority = authority.rsplit('@').next()?;
    (!authority.is_empty()).then(|| format!("{scheme}://{authority}").to_ascii_lowercase())
}

fn authority_of(origin: &str) -> Option<String> {
    let (_, authority) = origin.split_once("://")?;
    (!authority.is_empty() && !authority.contains(['/', '@', '?', '#'])).then(|| authority.to_owned())
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderName, HeaderValue};

    use super::*;

    fn rules() -> Rules {
        Rules::new(&ServerConfig {
            public_url: Some("https://train.example.org/base".to_owned()),
            allowed_hosts: vec!["box.lan".to_owned()],
            allowed_origins: vec!["https://app.example.org".to_owned()],
            ..ServerConfig::default()
        })
    }

    #[test]
    fn hosts_are_loopback_names_and_what_the_configuration_names() {
        let good = [
            "127.0.0.1:8000",
            "127.0.0.1",
            "127.9.9.9:1",
            "localhost:8000",
            "LOCALHOST",
            "[::1]:8000",
            "[::1]",
            "a.localhost",
            "train.example.org",
            "Train.Example.org:443",
            "box.lan:8000",
        ];
        let bad = [
            "",
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "notlocalhost",
            "0.0.0.0:8000",
            "192.168.1.5:8000",
            "[::2]:8000",
            "evil.example:8000",
            "x.train.example.org",
        ];
        for host in good {
            assert!(rules().host_is_good(host), "{host}");
        }
        for host in bad {
            assert!(!rules().host_is_good(host), "{host}");
        }
    }

    #[test]
    fn origins_are_the_same_or_allowed() {
        use OriginCheck::{Allowed, Foreign, Same};
        let cases = [
            ("http://127.0.0.1:8000", "127.0.0.1:8000", Same),
            ("http://localhost:8000", "127.0.0.1:8000", Same),
            ("http://localhost:3000", "127.0.0.1:8000", Foreign),
            ("http://localhost", "127.0.0.1:8000", Foreign),
            ("https://train.example.org", "train.example.org", Same),
            ("https://train.example.org", "127.0.0.1:8000", Same),
            ("http://train.example.org", "127.0.0.1:8000", Foreign),
            ("https://app.example.org", "127.0.0.1:8000", Allowed),
            ("http://box.lan:8000", "box.lan:8000", Same),
            ("http://box.lan:80", "box.lan", Same),
            ("http://evil.example", "127.0.0.1:8000", Foreign),
            ("http://evil.example:8000", "127.0.0.1:8000", Foreign),
            ("http://127.0.0.1:8000@evil.example", "127.0.0.1:8000", Foreign),
            ("null", "127.0.0.1:8000", Foreign),
            ("", "127.0.0.1:8000", Foreign),
        ];
        for (origin, host, expected) in cases {
            assert_eq!(rules().origin(origin, host), expected, "{origin} to {host}");
        }
    }

    #[test]
    fn a_token_stands_in_a_header_or_a_subprotocol() {
        let token_in = |name: HeaderName, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            token(&headers)
        };
        assert_eq!(token_in(header::AUTHORIZATION, "Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_in(header::AUTHORIZATION, "bearer abc").as_deref(), Some("abc"));
        assert_eq!(token_in(header::AUTHORIZATION, "Basic abc"), None);
        let offered = "trainyard.v1, bearer.abc.d";
        assert_eq!(token_in(header::SEC_WEBSOCKET_PROTOCOL, offered).as_deref(), Some("abc.d"));
        assert_eq!(token_in(header::SEC_WEBSOCKET_PROTOCOL, "trainyard.v1"), None);
    }

    #[test]
    fn only_what_is_static_is_open() {
        for path in ["/healthz", "/readyz", "/", "/docs", "/docs/index.css", "/openapi.json", "/agent/ab"] {
            assert!(is_open(path), "{path}");
        }
        for path in ["/metrics", "/api/training/jobs", "/ws/training/jobs/a", "/docsx", "/healthz/x"] {
            assert!(!is_open(path), "{path}");
        }
    }
}
