//! Events: the messages of the WebSocket, which SSE and the JSON page carry too.

use serde::Serialize;
use trainyard_domain::{Event, EventBody, Notification, Progress, Status};
use utoipa::ToSchema;

use super::{MetricsWire, ReasonWire, Time, word};

/// One message. `seq` is the event's number within its job.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Message {
    /// `status`, `metrics`, `notification`, `progress`, `log`; on a WebSocket also `connected`.
    #[serde(rename = "type")]
    #[schema(rename = "type", value_type = String)]
    kind: &'static str,
    #[schema(value_type = Object)]
    data: Data,
    seq: u64,
    ts: Time,
    attempt: Option<u32>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Data {
    Connected(ConnectedData),
    Status(StatusData),
    Notification(NotificationData),
    Metrics(MetricsWire),
    Progress(ProgressData),
    Log(LogData),
}

#[derive(Debug, Serialize)]
struct ConnectedData {
    job_id: String,
    last_seq: u64,
}

#[derive(Debug, Serialize)]
struct StatusData {
    state: String,
    phase: Option<String>,
    reason: Option<ReasonWire>,
    provider: Option<String>,
    provider_job_id: Option<String>,
    started_at: Option<Time>,
    completed_at: Option<Time>,
    exit_code: Option<i32>,
}

#[derive(Debug, Serialize)]
struct NotificationData {
    title: String,
    message: String,
    kind: String,
}

#[derive(Debug, Serialize)]
struct ProgressData {
    progress: Option<f64>,
    eta_s: Option<u64>,
    step: Option<u64>,
    total_steps: Option<u64>,
}

#[derive(Debug, Serialize)]
struct LogData {
    offset: u64,
    /// Bytes of the range.
    len: u32,
    text: String,
}

impl Message {
    /// The message of an event; `log_text` is the text of a log's range.
    pub(crate) fn of(event: &Event, log_text: &str) -> Message {
        let data = match &event.body {
            EventBody::Status(status) => Data::Status(StatusData::from(status)),
            EventBody::Notification(notification) => Data::Notification(notification.into()),
            EventBody::Metrics(point) => Data::Metrics(MetricsWire(point.clone())),
            EventBody::Progress(progress) => Data::Progress(progress.into()),
            EventBody::Log(span) => {
                Data::Log(LogData { offset: span.offset, len: span.len, text: log_text.to_owned() })
            }
        };
        Message {
            kind: event.body.kind(),
            data,
            seq: event.seq.0,
            ts: event.at.into(),
            attempt: event.attempt.map(|attempt| attempt.get()),
        }
    }

    /// The first message of a WebSocket.
    pub(crate) fn connected(job_id: &str, last_seq: u64, now: Time, attempt: Option<u32>) -> Message {
        let data = Data::Connected(ConnectedData { job_id: job_id.to_owned(), last_seq });
        Message { kind: "connected", data, seq: last_seq, ts: now, attempt }
    }

    /// A status that is no event: how the job is where a stream begins.
    pub(crate) fn status(status: &Status, seq: u64, now: Time, attempt: Option<u32>) -> Message {
        Message { kind: "status", data: Data::Status(status.into()), seq, ts: now, attempt }
    }

    /// The JSON text.
    pub(crate) fn to_text(&self) -> String {
        // Maps with text keys and numbers always encode.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The JSON text of an event.
pub(crate) fn encode(event: &Event, log_text: &str) -> String {
    Message::of(event, log_text).to_text()
}

impl From<&Status> for StatusData {
    fn from(status: &Status) -> Self {
        StatusData {
            state: status.state.to_string(),
            phase: status.phase.map(word),
            reason: status.reason.as_ref().map(ReasonWire::from),
            provider: status.provider.as_ref().map(ToString::to_string),
            provider_job_id: status.provider_job_id.as_ref().map(ToString::to_string),
            started_at: status.started_at.map(Time),
            completed_at: status.completed_at.map(Time),
            exit_code: status.exit_code,
        }
    }
}

impl From<&Notification> for NotificationData {
    fn from(notification: &Notification) -> Self {
        NotificationData {
            title: notification.title.clone(),
            message: notification.message.clone(),
            kind: word(notification.kind),
        }
    }
}

impl From<&Progress> for ProgressData {
    fn from(progress: &Progress) -> Self {
        ProgressData {
            progress: progress.fraction,
            eta_s: progress.eta_s,
            step: progress.step,
            total_steps: progress.total_steps,
        }
    }
}

/// A page of a job's history.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventsAnswer {
    pub(crate) job_id: String,
    pub(crate) events: Vec<Message>,
    /// `after` of the next page.
    pub(crate) next_after: u64,
    /// The number of the job's last event.
    pub(crate) last_seq: u64,
    /// The oldest number from which the history is whole.
    pub(crate) oldest_seq: u64,
    /// Whether the next page has something already.
    pub(crate) more: bool,
}

/// A job's milestones.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationsAnswer {
    pub(crate) job_id: String,
    pub(crate) notifications: Vec<NotificationWire>,
}

/// One milestone.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct NotificationWire {
    seq: u64,
    ts: Time,
    attempt: Option<u32>,
    kind: String,
    title: String,
    message: String,
}

impl NotificationWire {
    /// The milestone of an event; none where it is another kind of event.
    pub(crate) fn of(event: &Event) -> Option<NotificationWire> {
        let EventBody::Notification(notification) = &event.body else { return None };
        let NotificationData { title, message, kind } = notification.into();
        let attempt = event.attempt.map(|attempt| attempt.get());
        Some(NotificationWire { seq: event.seq.0, ts: event.at.into(), attempt, kind, title, message })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trainyard_domain::{
        AttemptNumber, LogSpan, MetricPoint, MetricValue, NotificationKind, Phase, Reason, Seq, StateName,
    };

    use super::*;

    #[test]
    fn messages_have_the_documented_form() {
        let at = "2024-01-15T11:00:00Z".parse().unwrap();
        let bodies = [
            EventBody::Status(Status {
                state: StateName::Failed,
                phase: Some(Phase::Releasing),
                reason: Some(Reason::new("exit_code", "the training exited with 1").suggest("see the log")),
                provider: Some("local".parse().unwrap()),
                provider_job_id: None,
                started_at: Some(at),
                completed_at: Some(at),
                exit_code: Some(1),
            }),
            EventBody::Notification(Notification {
                kind: NotificationKind::Completed,
                title: "Training Complete!".to_owned(),
                message: "Your model training has finished successfully.".to_owned(),
            }),
            EventBody::Metrics(MetricPoint {
                step: Some(1000),
                values: BTreeMap::from([("loss".to_owned(), MetricValue(0.5))]),
                ..MetricPoint::default()
            }),
            EventBody::Progress(Progress {
                fraction: Some(0.25),
                eta_s: Some(90),
                step: Some(25),
                total_steps: Some(100),
            }),
            EventBody::Log(LogSpan { offset: 10, len: 6 }),
        ];
        let messages: Vec<Message> = bodies
            .into_iter()
            .zip(1..)
            .map(|(body, seq)| {
                let event = Event { seq: Seq(seq), at, attempt: Some(AttemptNumber::FIRST), body };
                Message::of(&event, "line 1")
            })
            .chain([Message::connected("job_1", 5, Time(at), None)])
            .collect();
        insta::assert_json_snapshot!(messages);
    }
}
