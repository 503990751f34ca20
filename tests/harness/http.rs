//! A small HTTP/1.1 client that sends exactly what it is told and hides nothing of the answer.
//!
//! One connection per request. Slow, torn and wrong requests are what it is for; what is well-formed and quick can be
//! done with any client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Longest silence of a server within an answer.
const SILENCE_MAX: Duration = Duration::from_secs(100);

/// A server to speak to.
#[derive(Debug, Clone)]
pub struct Http {
    address: String,
    token: Option<String>,
}

impl Http {
    /// The server at `http://HOST:PORT`.
    pub fn to(url: &str) -> Http {
        Http { address: url.trim_start_matches("http://").to_owned(), token: None }
    }

    /// The same, with a token on every request.
    #[must_use]
    pub fn bearing(&self, token: &str) -> Http {
        Http { address: self.address.clone(), token: Some(token.to_owned()) }
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A request to be filled in.
    pub fn call(&self, method: &str, path: &str) -> Call {
        let call = Call {
            address: self.address.clone(),
            line: format!("{method} {path} HTTP/1.1"),
            headers: vec![("Connection".to_owned(), "close".to_owned())],
            body: None,
        };
        match &self.token {
            Some(token) => call.header("Authorization", &format!("Bearer {token}")),
            None => call,
        }
    }

    /// The answer to a GET.
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    /// The answer to a POST of JSON.
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.call("POST", path).json(body).send()
    }

    /// The answer to a POST without a body.
    pub fn poke(&self, path: &str) -> Answer {
        self.call("POST", path).send()
    }

    /// A connection, for bytes that no request builder would write.
    ///
    /// # Panics
    /// If the server does not take it.
    pub fn connect(&self) -> TcpStream {
        self.try_connect().expect("the server takes connections")
    }

    fn try_connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(stream)
    }
}

/// A request on its way.
#[derive(Debug)]
pub struct Call {
    address: String,
    line: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Call {
    /// With a header. A `Host` given here stands instead of the right one.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(self, body: &Value) -> Call {
        self.header("Content-Type", "application/json").bytes(body.to_string().as_bytes())
    }

    /// With these bytes as its body, and nothing said of their type.
    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Call {
        self.body = Some(body.to_vec());
        self
    }

    /// Sends it and reads the whole answer.
    ///
    /// # Panics
    /// If there is no answer that is HTTP.
    pub fn send(self) -> Answer {
        self.attempt().expect("a whole answer")
    }

    /// Sends it and reads the whole answer, where a server is there to give it.
    ///
    /// # Errors
    /// Nobody listens, or the connection broke before the answer was whole: whether it was done is not known.
    pub fn attempt(self) -> io::Result<Answer> {
        let is_head = self.line.starts_with("HEAD ");
        let mut open = self.try_open()?;
        let mut body = Vec::new();
        if !is_head {
            open.read_to_end(&mut body)?;
        }
        Ok(Answer { status: open.status, headers: open.headers, body })
    }

    /// Sends it as a request to speak another protocol on this connection.
    pub(crate) fn upgrade(mut self) -> Open {
        self.headers.retain(|(name, value)| name != "Connection" || value != "close");
        self.open()
    }

    /// Sends it and reads the head of the answer; its body comes as it comes.
    ///
    /// # Panics
    /// If there is no answer that is HTTP.
    pub fn open(self) -> Open {
        self.try_open().expect("the head of an answer")
    }

    fn try_open(self) -> io::Result<Open> {
        let mut stream = Http { address: self.address.clone(), token: None }.try_connect()?;
        let mut head = format!("{}\r\n", self.line);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            head += &format!("Host: {}\r\n", self.address);
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = &self.body {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        let mut bytes = format!("{head}\r\n").into_bytes();
        bytes.extend(self.body.unwrap_or_default());
        // A server may answer before it has read everything, and say so by closing.
        let _ = stream.write_all(&bytes);
        Open::try_read(stream)
    }
}

/// An answer whose body is still to come; reading it reads the body.
#[derive(Debug)]
pub struct Open {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    /// Bytes left of the body or of the chunk; none until it closes.
    left: Option<u64>,
    chunked: bool,
}

impl Open {
    /// Reads the head of an answer.
    ///
    /// # Panics
    /// If it is not HTTP.
    pub fn read(stream: TcpStream) -> Open {
        Open::try_read(stream).expect("the head of an answer")
    }

    fn try_read(stream: TcpStream) -> io::Result<Open> {
        let mut reader = BufReader::new(stream);
        let status = line(&mut reader)?;
        if status.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed without an answer"));
        }
        let code = status.split(' ').nth(1).and_then(|code| code.parse().ok());
        let code = code.unwrap_or_else(|| panic!("no status line: {status:?}"));
        let mut headers = Vec::new();
        loop {
            let line = line(&mut reader)?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let find = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, v)| v.clone());
        let chunked = find("transfer-encoding").is_some_and(|value| value == "chunked");
        let bare = matches!(code, 101 | 204 | 304);
        let length = find("content-length").and_then(|length| length.parse().ok());
        let left = if chunked || bare { Some(0) } else { length };
        Ok(Open { status: code, headers, reader, left, chunked })
    }

    /// Reads the rest.
    ///
    /// # Panics
    /// If the body breaks off.
    pub fn finish(mut self) -> Answer {
        let mut body = Vec::new();
        self.read_to_end(&mut body).expect("a whole body");
        Answer { status: self.status, headers: self.headers, body }
    }

    /// The connection, after an answer without a body.
    pub fn into_connection(self) -> BufReader<TcpStream> {
        self.reader
    }

    fn next_chunk(&mut self) -> io::Result<()> {
        let size = line(&mut self.reader)?;
        let size = u64::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
        self.left = Some(size);
        if size == 0 {
            line(&mut self.reader)?;
            self.chunked = false;
        }
        Ok(())
    }
}

impl Read for Open {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.chunked && self.left == Some(0) {
            self.next_chunk()?;
        }
        let most = self.left.map_or(out.len(), |left| out.len().min(left as usize));
        if most == 0 {
            return Ok(0);
        }
        let n = self.reader.read(&mut out[..most])?;
        match &mut self.left {
            Some(left) if n == 0 && *left > 0 => {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the body broke off"));
            }
            Some(left) => {
                *left -= n as u64;
                if self.chunked && *left == 0 && n > 0 {
                    line(&mut self.reader)?;
                }
            }
            None => {}
        }
        Ok(n)
    }
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON, which it must say it is.
    ///
    /// # Panics
    /// If it is not.
    pub fn json(&self) -> Value {
        let kind = self.header("content-type").unwrap_or("");
        assert!(kind.starts_with("application/json"), "{} {kind}: {}", self.status, self.text());
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The JSON of an answer with that status.
    ///
    /// # Panics
    /// If it has another one.
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The body of an error with that status and code, which must have its documented form.
    ///
    /// # Panics
    /// If it is anything else.
    pub fn error(&self, status: u16, code: &str) -> Value {
        let body = self.ok(status);
        let mut keys: Vec<&str> = body.as_object().expect("an object").keys().map(String::as_str).collect();
        keys.retain(|key| *key != "oldest_seq" || status != 410);
        assert_eq!(keys, ["code", "detail", "error", "job_id"], "{body}");
        for name in ["error", "detail", "code"] {
            assert!(body[name].as_str().is_some_and(|text| !text.is_empty()), "`{name}` of {body}");
        }
        assert!(body["job_id"].is_null() || body["job_id"].is_string(), "{body}");
        assert_eq!(body["code"], code, "{body}");
        body
    }
}
