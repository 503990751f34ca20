//! A stand-in for the Hugging Face hub that refuses as the hub does: a private or gated repository, one that does not
//! exist, a token that it does not know.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};

/// Most calls that it answers.
const CALLS_MAX: usize = 1000;
/// A token that it knows, of an account that accepted nothing.
pub(crate) const TOKEN: &str = "hf_abcdefghijklmnopqrstuvwxyz01234567";
/// A model whose conditions must be accepted.
pub(crate) const GATED: &str = "meta-llama/Llama-3.1-8B";

/// Where it listens. It goes with the process of the test.
pub(crate) fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().take(CALLS_MAX).flatten() {
            // One that went away in the middle is no reason to stop.
            let _ = answer(stream);
        }
    });
    url
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut token = None;
    for line in lines {
        let line = line?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            token = value.strip_prefix("Bearer ").map(str::to_owned);
        }
    }
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, code, said) = refusal(path, token.as_deref());
    let body = if status == "200 OK" { about() } else { format!("{{\"error\":\"{said}\"}}") };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\
         X-Error-Code: {code}\r\nX-Error-Message: {said}\r\n\r\n{body}",
        body.len()
    )
}

/// Status, code and message, as the hub gives them.
fn refusal(path: &str, token: Option<&str>) -> (&'static str, &'static str, &'static str) {
    match token {
        Some(token) if token != TOKEN => {
            ("401 Unauthorized", "", "Invalid credentials in Authorization header")
        }
        // Anyone may read what a gated model is; its files are another thing.
        _ if path.starts_with("/api/") && path.contains(GATED) => ("200 OK", "", ""),
        Some(_) if path.contains(GATED) => (
            "403 Forbidden",
            "GatedRepo",
            "Access to model meta-llama/Llama-3.1-8B is restricted and you are not in the authorized list",
        ),
        Some(_) => ("404 Not Found", "RepoNotFound", "Repository not found"),
        // It does not tell strangers what there is.
        None => ("401 Unauthorized", "RepoNotFound", "Invalid username or password."),
    }
}

fn about() -> String {
    format!(
        "{{\"id\":\"{GATED}\",\"sha\":\"d04e592bb4f6aa9cfee91e2e20afa771667e1d4b\",\"gated\":\"manual\",\
         \"siblings\":[{{\"rfilename\":\"config.json\"}}]}}"
    )
}
