//! The stream of a pod's log: Server-Sent Events to lines, and what in them proves that a container will not come up.

use chrono::{SecondsFormat, TimeDelta};
use trainyard_connector::MachineLog;
use trainyard_domain::Timestamp;

use crate::error::tidy;
use crate::wire::LogLine;

/// Most lines of one answer, and most bytes of a line.
const LINES_MAX: usize = 1000;
const LINE_BYTES_MAX: usize = 4096;

/// Where a reading of a log goes on: the time and the id of the last line that was given. The id is RunPod's own and
/// opaque; the time is what RunPod is asked from, so that a restart of its log service loses nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    ts: String,
    id: String,
}

impl Cursor {
    /// From what an earlier answer gave; none where it is nothing of ours.
    pub(crate) fn parse(text: &str) -> Option<Cursor> {
        let (ts, id) = text.split_once('|')?;
        Some(Cursor { ts: ts.to_owned(), id: id.to_owned() })
    }

    /// From when RunPod is asked to tell: a second earlier, since nobody says whether that moment itself is told, and
    /// times may be whole seconds.
    pub(crate) fn since(&self) -> String {
        let earlier = |at: Timestamp| at.checked_sub_signed(TimeDelta::seconds(1));
        match self.ts.parse().ok().and_then(earlier) {
            Some(at) => at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            None => self.ts.clone(),
        }
    }

    fn text(&self) -> String {
        format!("{}|{}", self.ts, self.id)
    }
}

/// One line with its id.
struct Event {
    id: String,
    line: LogLine,
}

/// What one reading of the stream gives after a cursor. An event that was cut off is left for the next reading.
pub(crate) fn log_of(stream: &[u8], after: Option<&Cursor>) -> MachineLog {
    let events = events(&String::from_utf8_lossy(stream));
    // `since` tells again what is at the cursor's own time, as far as it was given before.
    let known = after.and_then(|cursor| events.iter().rposition(|event| event.id == cursor.id));
    let fresh = events.iter().skip(known.map_or(0, |at| at + 1)).take(LINES_MAX);
    let mut log = MachineLog { cursor: after.map(Cursor::text), ..MachineLog::default() };
    for event in fresh {
        let told = |line: &str| match event.line.source.0.as_str() {
            "system" => broken(line),
            // The script that brings the agent says so where it gives up; the container runs on.
            _ => trainyard_agent::boot_failure(line),
        };
        log.broken = log.broken.or_else(|| told(&event.line.line.0));
        log.lines.push(line_of(&event.line));
        if !event.line.ts.0.is_empty() {
            let cursor = Cursor { ts: event.line.ts.0.clone(), id: event.id.clone() };
            log.cursor = Some(cursor.text());
        }
    }
    log
}

fn line_of(line: &LogLine) -> String {
    let mut text = match line.source.0.as_str() {
        "container" | "" => line.line.0.clone(),
        source => format!("{source}: {}", line.line.0),
    };
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

/// The complete events of a stream. Comments, events without data and data that is no line are left out.
fn events(stream: &str) -> Vec<Event> {
    let stream = stream.replace("\r\n", "\n");
    let complete = stream.rfind("\n\n").map_or("", |end| &stream[..end]);
    complete.split("\n\n").filter_map(event).collect()
}

fn event(block: &str) -> Option<Event> {
    let field = |name: &str| {
        let values = block.lines().filter_map(move |line| line.strip_prefix(name));
        values.map(|value| value.strip_prefix(' ').unwrap_or(value)).collect::<Vec<_>>().join("\n")
    };
    let line: LogLine = serde_json::from_str(&field("data:")).ok()?;
    let id = field("id:");
    Some(Event { id: if id.is_empty() { line.ts.0.clone() } else { id }, line })
}

/// Texts of a container's host that end its start: what they mean, and whether another machine could help. The first
/// that fits holds.
const BROKEN: &[(&[&str], &str, bool)] = &[
    (&["toomanyrequests"], "the image registry refuses more pulls from that host for now", true),
    (&["pull rate limit"], "the image registry refuses more pulls from that host for now", true),
    (&["pull access denied"], "the image does not exist or needs a login", false),
    (&["repository does not exist"], "the image does not exist or needs a login", false),
    (&["requested access to the resource is denied"], "the image needs another login", false),
    (&["authentication required"], "the image needs a login", false),
    (&["manifest unknown"], "the image or its tag does not exist", false),
    (&["manifest for", "not found"], "the image or its tag does not exist", false),
    (&["invalid reference format"], "the image's name is none", false),
    (&["no matching manifest"], "the image is not made for this kind of machine", false),
    (&["exec format error"], "the image is not made for this kind of machine", false),
    (&["unsatisfied condition: cuda"], "the host's driver is too old for the image's CUDA", true),
    (&["nvidia-container-cli"], "the host's GPU driver did not start the container", true),
    (&["executable file not found"], "the image has no `sh`", false),
    (&["no space left on device"], "the host's disk is full", true),
    (&["oci runtime create failed"], "the container could not be made", true),
    (&["failed to pull image"], "the image could not be pulled", true),
    (&["error pulling image"], "the image could not be pulled", true),
    (&["failed to create container"], "the container could not be made", true),
];

/// What a line of the host says about a container that will not come up: for a person, with RunPod's own text, and
/// whether another machine could help. None where it says nothing of the kind.
pub(crate) fn broken(line: &str) -> Option<(String, bool)> {
    let lower = line.to_lowercase();
    let fits = |texts: &[&str]| texts.iter().all(|text| lower.contains(text));
    let (_, what, elsewhere) = BROKEN.iter().find(|(texts, ..)| fits(texts))?;
    Some((format!("{what}: {}", tidy(line)), *elsewhere))
}
