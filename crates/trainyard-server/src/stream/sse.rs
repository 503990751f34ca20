//! The form of server-sent events, and the answer that bears them.

use actix_web::HttpResponse;
use actix_web::http::header;
use bytes::Bytes;
use futures_core::Stream;

/// What goes out while there is nothing to tell, so that proxies keep the connection.
pub(super) const HEARTBEAT: &str = ": \n\n";
/// The first thing sent: clients come back after that many milliseconds.
pub(super) const OPENING: &str = "retry: 2000\n\n";

/// One event. `data` is JSON, which never has a line break in it.
pub(super) fn event(out: &mut String, id: u64, kind: &str, data: &str) {
    use std::fmt::Write;
    // Writing to a string cannot fail.
    let _ = write!(out, "id: {id}\nevent: {kind}\ndata: {data}\n\n");
}

/// A response whose body goes on.
pub(super) fn response(parts: impl Stream<Item = Result<Bytes, std::io::Error>> + 'static) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(parts)
}

#[cfg(test)]
mod tests {
    #[test]
    fn events_are_lines_with_an_empty_one_after() {
        let mut out = String::new();
        super::event(&mut out, 7, "status", r#"{"a":"b\nc"}"#);
        assert_eq!(out, "id: 7\nevent: status\ndata: {\"a\":\"b\\nc\"}\n\n");
    }
}
