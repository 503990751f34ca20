//! What every handler has at hand.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::{HttpMessage, HttpRequest};
use tokio::runtime::Handle;
use tokio::sync::watch;
use trainyard_orchestrator::{Error, Keyed, Orchestrator};

use crate::config::ServerConfig;
use crate::error::ApiError;
use crate::guard::Rules;

/// Shared by all workers.
#[derive(Debug)]
pub(crate) struct AppState {
    pub(crate) orchestrator: Orchestrator,
    pub(crate) config: ServerConfig,
    pub(crate) rules: Rules,
    /// The runtime the orchestrator lives on.
    main: Handle,
    /// Turns true when the server goes down; streams say goodbye then.
    pub(crate) leaving: watch::Receiver<bool>,
    open_streams: Arc<AtomicUsize>,
}

impl AppState {
    /// Must be made on the orchestrator's runtime.
    pub(crate) fn new(
        orchestrator: Orchestrator,
        config: ServerConfig,
        leaving: watch::Receiver<bool>,
    ) -> AppState {
        let rules = Rules::new(&config);
        let open_streams = Arc::default();
        AppState { orchestrator, config, rules, main: Handle::current(), leaving, open_streams }
    }

    /// Runs a command on the orchestrator's runtime. It goes on to its end there when the client goes away or the
    /// worker stops, so that no command is cut in the middle by a lost connection.
    pub(crate) async fn call<T, F, Fut>(&self, command: F) -> Result<T, ApiError>
    where
        F: FnOnce(Orchestrator) -> Fut,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        self.run(self.orchestrator.clone(), command).await
    }

    /// The same under the request's `Idempotency-Key`, where it has one: what the command changes is noted with it.
    pub(crate) async fn call_under<T, F, Fut>(&self, request: &HttpRequest, command: F) -> Result<T, ApiError>
    where
        F: FnOnce(Orchestrator) -> Fut,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        let keyed = request.extensions().get::<Keyed>().cloned();
        let orchestrator = match keyed {
            Some(keyed) => self.orchestrator.under(keyed),
            None => self.orchestrator.clone(),
        };
        self.run(orchestrator, command).await
    }

    async fn run<T, F, Fut>(&self, orchestrator: Orchestrator, command: F) -> Result<T, ApiError>
    where
        F: FnOnce(Orchestrator) -> Fut,
        Fut: Future<Output = Result<T, Error>> + Send + 'static,
        T: Send + 'static,
    {
        match self.main.spawn(command(orchestrator)).await {
            Ok(answer) => answer.map_err(ApiError::from),
            Err(error) if error.is_panic() => {
                tracing::error!("a command panicked");
                Err(ApiError::internal())
            }
            Err(_) => Err(ApiError::draining()),
        }
    }

    /// Starts something on the orchestrator's runtime that nobody waits for; it logs its own failure.
    pub(crate) fn start<F, Fut>(&self, work: F)
    where
        F: FnOnce(Orchestrator) -> Fut,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.main.spawn(work(self.orchestrator.clone()));
    }

    pub(crate) fn is_leaving(&self) -> bool {
        *self.leaving.borrow()
    }

    /// Counts one more stream, or refuses it. Dropping the guard counts it off.
    pub(crate) fn open_stream(&self) -> Result<StreamGuard, ApiError> {
        if self.is_leaving() {
            return Err(ApiError::draining());
        }
        let guard = StreamGuard(Arc::clone(&self.open_streams));
        let open = guard.0.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::gauge!("trainyard_http_streams").set(open as f64);
        if open > self.config.streams.open_max {
            let status = actix_web::http::StatusCode::SERVICE_UNAVAILABLE;
            let error = ApiError::new(status, "too_many_streams", "too many streams are open");
            return Err(error.retry_after(10));
        }
        Ok(guard)
    }
}

/// One open stream.
#[derive(Debug)]
pub(crate) struct StreamGuard(Arc<AtomicUsize>);

impl Drop for StreamGuard {
    fn drop(&mut self) {
        let open = self.0.fetch_sub(1, Ordering::Relaxed) - 1;
        metrics::gauge!("trainyard_http_streams").set(open as f64);
    }
}
