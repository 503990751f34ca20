//! Sending the agent to a machine that awaits it.
//!
//! A push goes on by itself, whoever asked for it and gave up: the next question finds it under way or done. One at a
//! time for an order; it ends with the supply.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use trainyard_connector::{Arch, ConnectorError, ErrorKind};
use trainyard_domain::OrderName;

use super::AgentSupply;
use super::transport::{refusal, unreached};

/// One push may take this long.
const WITHIN: Duration = Duration::from_secs(600);
/// Most bytes of a refusal that are read.
const REFUSAL_BYTES_MAX: usize = 64 << 10;
/// Pushes at once: they share one line out.
const AT_ONCE: usize = 8;
/// Whoever asked waits this long for the push, then says that it is under way.
const ASKED_WAITS: Duration = Duration::from_secs(4);

/// The pushes under way.
#[derive(Debug)]
pub(super) struct Pushes {
    running: Mutex<HashMap<OrderName, Push>>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Push {
    outcome: watch::Receiver<Option<Result<(), String>>>,
    task: AbortHandle,
}

/// Where a push goes.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) base: String,
    pub(super) http: reqwest::Client,
    pub(super) order: OrderName,
    pub(super) arch: Arch,
    pub(super) awaited: String,
}

impl Default for Pushes {
    fn default() -> Pushes {
        Pushes { running: Mutex::new(HashMap::new()), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Drop for Pushes {
    fn drop(&mut self) {
        for push in self.lock().values() {
            push.task.abort();
        }
    }
}

impl Pushes {
    fn lock(&self) -> MutexGuard<'_, HashMap<OrderName, Push>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends the agent, or joins the push that is under way. Ok: the machine has it and starts it.
pub(super) async fn push(supply: &AgentSupply, target: Target) -> Result<(), ConnectorError> {
    let order = target.order.clone();
    let packed = supply.packed(target.arch, &target.awaited).await?;
    let mut outcome = {
        let mut running = supply.pushes().lock();
        match running.get(&order) {
            Some(push) => push.outcome.clone(),
            None => {
                let (done, outcome) = watch::channel(None);
                let places = Arc::clone(&supply.pushes().places);
                let task = tokio::spawn(async move {
                    let sent = match places.acquire_owned().await {
                        Ok(_place) => send(&target, packed).await.map_err(|error| shown(&error)),
                        Err(error) => Err(error.to_string()),
                    };
                    done.send_replace(Some(sent));
                });
                running.insert(order.clone(), Push { outcome: outcome.clone(), task: task.abort_handle() });
                outcome
            }
        }
    };
    let waited = tokio::time::timeout(ASKED_WAITS, outcome.wait_for(Option::is_some)).await;
    let ended = match waited {
        Ok(Ok(sent)) => sent.clone(),
        // Aborted with the supply, or a panic: nobody sends any more.
        Ok(Err(_)) => Some(Err("given up".to_owned())),
        Err(_) => None,
    };
    let unreachable = |text: String| ConnectorError::refused(ErrorKind::Unreachable, text);
    let Some(sent) = ended else {
        return Err(unreachable(format!("the agent of {order} is on its way to the machine")));
    };
    supply.pushes().lock().remove(&order);
    sent.map_err(|error| {
        unreachable(format!("the agent of {order} could not be sent to the machine: {error}"))
    })
}

async fn send(target: &Target, packed: bytes::Bytes) -> Result<(), ConnectorError> {
    let url = format!("{}/v1/agent", target.base);
    let request = target.http.put(url).timeout(WITHIN).body(packed);
    let mut response = request.send().await.map_err(|error| unreached(&target.order, error))?;
    let status = response.status();
    if status == StatusCode::OK {
        return Ok(());
    }
    // Whoever owns the machine answers what he likes: only so much of it is taken.
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| unreached(&target.order, error))? {
        let room = REFUSAL_BYTES_MAX.saturating_sub(body.len());
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if body.len() >= REFUSAL_BYTES_MAX {
            break;
        }
    }
    Err(refusal(status, &body))
}

fn shown(error: &ConnectorError) -> String {
    match &error.source {
        Some(below) => format!("{error}: {below}"),
        None => error.to_string(),
    }
}
