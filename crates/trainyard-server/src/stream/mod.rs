//! What goes on after the answer has begun: WebSocket, server-sent events, a followed log.

pub(crate) mod event_source;
pub(crate) mod frame_limit;
pub(crate) mod log_follow;
mod sse;
pub(crate) mod websocket;

use std::sync::Arc;

use trainyard_orchestrator::SharedEvent;

use crate::wire;

/// The JSON text of an event, encoded once for all its readers.
fn text_of(event: &SharedEvent) -> &str {
    event.wire.get_or_init(|| Arc::from(wire::encode(&event.event, &event.log_text)))
}
