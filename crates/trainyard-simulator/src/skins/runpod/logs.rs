//! `GET /v2/pods/{id}/logs`: an event stream that does not begin before there is a line and does not end by itself.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::SecondsFormat;
use serde_json::{Value, json};
use tokio::sync::mpsc::Sender;
use trainyard_domain::Timestamp;

use super::answer;
use crate::http::{Request, Response};
use crate::world::{Line, Log, Source, World};

/// Lines of the backfill where nobody says, and at most.
const TAIL: usize = 100;
const TAIL_MAX: usize = 5000;
/// Lines of one burst.
const BURST: usize = 500;
/// How often a stream without lines looks whether its pod is still there.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What is told.
struct Asked {
    source: Option<Source>,
    /// Lines after this number.
    after: u64,
    /// Lines until it breaks off; none: never.
    cut: Option<usize>,
}

/// The log of a pod from where it is asked for on.
pub(super) async fn stream(request: &Request, id: &str, world: &World) -> Response {
    let Some(machine) = world.reading(&request.call, id, Duration::ZERO) else { return answer::not_found() };
    let asked = match Asked::read(request, &machine.log) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let log = Arc::clone(&machine.log);
    let gone = {
        let (world, vendor, id) = (world.clone(), machine.vendor, machine.id.clone());
        move || !world.machine(vendor, &id).is_some_and(|machine| machine.is_alive())
    };
    // Not even headers come before the first line.
    while asked.after_next(&log, asked.after).is_none() {
        if gone() {
            return answer::not_found();
        }
        // In real time: a line rings at once, and only the end of the pod is looked for.
        let _ = tokio::time::timeout(LOOK_EVERY, log.beyond(log.last())).await;
    }
    let (response, sender) = Response::stream(200, "text/event-stream");
    world.spawn(async move { tell(&log, asked, sender, gone).await });
    response.with("cache-control", "no-cache").with("x-accel-buffering", "no")
}

/// Tells lines until the reader goes away, the pod is gone, or it is cut.
async fn tell(log: &Log, asked: Asked, sender: Sender<Bytes>, gone: impl Fn() -> bool) {
    let (mut after, mut told) = (asked.after, 0);
    loop {
        let lines = log.after(after, BURST);
        let events: Vec<&Line> = lines.iter().filter(|line| asked.wants(line)).collect();
        let room = asked.cut.map_or(events.len(), |cut| cut.saturating_sub(told).min(events.len()));
        let burst: String = events.iter().take(room).map(|line| event(line)).collect();
        told += room;
        if !burst.is_empty() && sender.send(burst.into()).await.is_err() {
            return;
        }
        if asked.cut.is_some_and(|cut| told >= cut) || (lines.is_empty() && gone()) {
            return;
        }
        if let Some(last) = lines.last() {
            after = last.number;
            continue;
        }
        tokio::select! {
            () = log.beyond(after) => {}
            () = sender.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

impl Asked {
    fn read(request: &Request, log: &Log) -> Result<Asked, Box<Response>> {
        let wrong = |what: &str| Box::new(answer::unprocessable(&[what.to_owned()]));
        let source = match request.parameter("source").as_deref() {
            None => None,
            Some("container") => Some(Source::Container),
            Some("system") => Some(Source::System),
            Some(_) => return Err(wrong("query.source: value must be one of 'container', 'system'")),
        };
        let tail = match request.parameter("tail").map(|text| text.parse::<usize>()) {
            None => TAIL,
            Some(Ok(tail)) if tail <= TAIL_MAX => tail,
            Some(_) => return Err(wrong("query.tail: must be <= 5000")),
        };
        let since = match request.parameter("since").map(|text| text.parse::<Timestamp>()) {
            None => None,
            Some(Ok(since)) => Some(since),
            Some(Err(_)) => return Err(wrong("query.since: value must be a date-time")),
        };
        let all = log.after(0, usize::MAX);
        // The last event wins over the time, and the time over the number of lines.
        let after = match (request.header("last-event-id"), since) {
            (Some(id), _) => {
                let known = all.iter().find(|line| id_of(line) == id);
                known.ok_or_else(|| wrong("Last-Event-ID: unknown event"))?.number
            }
            (None, Some(since)) => {
                all.iter().take_while(|line| line.at < since).last().map_or(0, |line| line.number)
            }
            (None, None) => {
                let mut of_source =
                    all.iter().rev().filter(|line| source.is_none_or(|only| line.source == only));
                of_source.nth(tail).map_or(0, |line| line.number)
            }
        };
        let cut = request.call.drawn.own("cut_log").and_then(Value::as_u64);
        Ok(Asked { source, after, cut: cut.and_then(|lines| usize::try_from(lines).ok()) })
    }

    fn wants(&self, line: &Line) -> bool {
        self.source.is_none_or(|only| line.source == only)
    }

    /// The first line after that number that is wanted.
    fn after_next(&self, log: &Log, number: u64) -> Option<Line> {
        log.after(number, usize::MAX).into_iter().find(|line| self.wants(line))
    }
}

fn time_of(line: &Line) -> String {
    line.at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn id_of(line: &Line) -> String {
    format!("{}/{:012}", time_of(line), line.number)
}

fn event(line: &Line) -> String {
    let source = match line.source {
        Source::System => "system",
        Source::Container => "container",
    };
    let data = json!({"ts": time_of(line), "source": source, "line": line.text});
    format!("id: {}\ndata: {data}\n\n", id_of(line))
}
