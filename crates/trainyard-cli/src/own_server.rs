//! A server of our own for as long as one command takes, and a client of it: what a command does goes the same way as
//! with any other server.

use secrecy::SecretString;
use trainyard::Orchestrator;

use crate::client::Api;
use crate::config::Settings;
use crate::embedded::{SHUTDOWN_GRACE, bind, open};
use crate::exit::{Failure, Outcome};
use crate::out::note;

/// Serves the settings' directory, lets `work` do its part over HTTP, and ends the server. Trainings go on.
pub(crate) async fn with_own_server(
    settings: &Settings,
    who: &str,
    work: impl AsyncFnOnce(&Api, &Orchestrator) -> Outcome,
) -> Outcome {
    let bound = bind(settings, None)?;
    let orchestrator = open(settings).await.map_err(|failure| match failure.hint {
        Some(_) => failure,
        None => failure.hint("choose another directory with --dir"),
    })?;
    let url = bound.url();
    note(format!("a server at {url} over {}", settings.data.display()));
    let guest = Guest::let_in(&orchestrator, &url, who).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = bound.run(orchestrator.clone(), async move {
        // Sent or dropped: both end it.
        let _ = stopped.await;
    });
    let working = async {
        let outcome = work(&guest.api, &orchestrator).await;
        guest.let_out(&orchestrator).await;
        drop(stop);
        outcome
    };
    let (served, outcome) = tokio::join!(serving, working);
    orchestrator.shutdown(SHUTDOWN_GRACE).await;
    served.map_err(|error| Failure::failed("the server ended").because(&error))?;
    outcome
}

/// A client of our own server; where its directory has tokens it gets one for as long as it takes.
struct Guest {
    api: Api,
    token: Option<String>,
}

impl Guest {
    async fn let_in(orchestrator: &Orchestrator, url: &str, who: &str) -> Result<Guest, Failure> {
        let failed =
            |error: trainyard::orchestrator::Error| Failure::failed("no token for ourselves").because(&error);
        if orchestrator.tokens().await.map_err(failed)?.is_empty() {
            return Ok(Guest { api: Api::at(url, None)?, token: None });
        }
        let made = orchestrator.create_token(who).await.map_err(failed)?;
        let token: &SecretString = &made.token;
        Ok(Guest { api: Api::at(url, Some(token))?, token: Some(made.id) })
    }

    async fn let_out(&self, orchestrator: &Orchestrator) {
        if let Some(id) = &self.token
            && let Err(error) = orchestrator.revoke_token(id).await
        {
            note(format!("the token {id} was not revoked: {error}; `trainyard token revoke {id}` does it"));
        }
    }
}
