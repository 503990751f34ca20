//! How a machine goes when nobody speaks to it any more: by what its vendor left in it.
//!
//! Some vendors put a key into every machine that opens nothing but that machine. A connector of such a vendor says
//! here, as plain data, how a machine reads and removes itself; the data names variables of the machine's own
//! environment and never holds their values, so it may travel in an order that everybody can read.

use std::fmt;
use std::str::FromStr;

/// How a machine removes itself with the key that its vendor gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelfRemoval {
    /// A reading of the machine itself, which changes nothing. That it is answered with a 2xx proves the key and the
    /// way; it is tried once the machine runs.
    pub probe: HttpCall,
    /// The removal. A 2xx means accepted, a 404 that it is gone.
    pub remove: HttpCall,
}

/// One request of a machine to its vendor.
///
/// It is written as `METHOD,URL,VARIABLE`: only characters that no shell and no vendor's template changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpCall {
    method: String,
    url: String,
    bearer: String,
}

/// Why a request cannot be written as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request of a machine is METHOD,URL,VARIABLE, with one %VARIABLE% in the URL where its id goes")]
pub struct BadHttpCall;

impl HttpCall {
    /// A request: the method, the address with `%VARIABLE%` where the machine's id goes, which that variable of its
    /// environment holds, and the variable that holds the bearer token.
    ///
    /// # Errors
    /// [`BadHttpCall`] for what cannot be written in its plain form.
    pub fn new(method: &str, url: &str, bearer: &str) -> Result<HttpCall, BadHttpCall> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "%:/._-~[]".contains(c);
        let is_url = url.starts_with("http://") || url.starts_with("https://");
        let is_method = !method.is_empty() && method.chars().all(|c| c.is_ascii_uppercase());
        let is_good = is_method && is_url && url.chars().all(plain) && is_name(bearer);
        // The script that makes this call without an agent knows of one variable only.
        let is_named = matches!(url.split('%').collect::<Vec<_>>()[..], [_, name, _] if is_name(name));
        if !is_good || !is_named {
            return Err(BadHttpCall);
        }
        Ok(HttpCall { method: method.to_owned(), url: url.to_owned(), bearer: bearer.to_owned() })
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The variable that holds the bearer token.
    pub fn bearer(&self) -> &str {
        &self.bearer
    }

    /// Every variable that it needs.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        self.url.split('%').skip(1).step_by(2).chain([self.bearer.as_str()])
    }

    /// The address with the values of the machine's own environment. None where one is missing, or holds what no id of
    /// a machine does.
    pub fn url(&self, value_of: impl Fn(&str) -> Option<String>) -> Option<String> {
        let mut url = String::new();
        for (at, part) in self.url.split('%').enumerate() {
            if at % 2 == 0 {
                url.push_str(part);
                continue;
            }
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            url.push_str(&value_of(part).filter(|value| !value.is_empty() && value.chars().all(plain))?);
        }
        Some(url)
    }
}

impl fmt::Display for HttpCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.method, self.url, self.bearer)
    }
}

impl FromStr for HttpCall {
    type Err = BadHttpCall;

    fn from_str(text: &str) -> Result<HttpCall, BadHttpCall> {
        let mut parts = text.split(',');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(method), Some(url), Some(bearer), None) => HttpCall::new(method, url, bearer),
            _ => Err(BadHttpCall),
        }
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_written_and_read_back_without_a_value() {
        let call = HttpCall::new("DELETE", "https://a.example/v2/pods/%POD_ID%/", "POD_KEY").unwrap();
        assert_eq!(call.to_string(), "DELETE,https://a.example/v2/pods/%POD_ID%/,POD_KEY");
        assert_eq!(call.to_string().parse(), Ok(call.clone()));
        assert_eq!(call.variables().collect::<Vec<_>>(), ["POD_ID", "POD_KEY"]);
        let of = |value: &'static str| call.url(move |name| (name == "POD_ID").then(|| value.to_owned()));
        assert_eq!(of("x1").as_deref(), Some("https://a.example/v2/pods/x1/"));
        assert_eq!((of("a/b"), of(""), call.url(|_| None)), (None, None, None));
    }

    #[test]
    fn what_a_shell_would_read_otherwise_is_refused() {
        let good = ("DELETE", "https://a/%ID%", "KEY");
        assert!(HttpCall::new(good.0, good.1, good.2).is_ok());
        for (method, url, bearer) in [
            ("delete", good.1, good.2),
            ("", good.1, good.2),
            (good.0, "ftp://a", good.2),
            (good.0, "https://a/$ID", good.2),
            (good.0, "https://a/%ID", good.2),
            (good.0, "https://a/%%", good.2),
            (good.0, "https://a/b", good.2),
            (good.0, "https://a/%ID%/%ID%", good.2),
            (good.0, "https://a/%i d%", good.2),
            (good.0, good.1, "K,EY"),
            (good.0, good.1, ""),
        ] {
            assert_eq!(HttpCall::new(method, url, bearer), Err(BadHttpCall), "{method} {url} {bearer}");
        }
        for text in ["", "GET", "GET,https://a", "GET,https://a,K,X"] {
            assert!(text.parse::<HttpCall>().is_err(), "{text}");
        }
    }
}
