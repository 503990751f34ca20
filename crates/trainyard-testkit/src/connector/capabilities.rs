//! What a provider can do, and what it cannot.

use std::fmt::Debug;

use trainyard_connector::{ConnectorError, ErrorKind};

use super::make::*;
use super::trial::{Can, Trial};

fn is_unsupported<T: Debug>(what: &str, result: Result<T, ConnectorError>) {
    let error = result.expect_err(what);
    assert_eq!(error.kind, ErrorKind::Unsupported, "{what}: {error:?}");
}

pub(super) async fn off_is_unsupported(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let connector = trial.connector();
    let can = connector.info().capabilities;
    if !can.offers {
        is_unsupported("offers", connector.offers(&trial.resources()).await);
    }
    if !can.machine_log {
        is_unsupported("machine_log", connector.machine_log(&name, &placed.id, None).await);
    }
    if !can.bill {
        is_unsupported("bill", connector.bill(&name, &placed.id).await);
    }
    if !can.ssh {
        is_unsupported("ssh", connector.ssh(&name, &placed.id).await);
    }
    Ok(())
}

pub(super) async fn on_works(trial: &dyn Trial) -> Can<()> {
    let (name, placed) = place(trial).await;
    let connector = trial.connector();
    let can = connector.info().capabilities;
    until(trial, "the machine is listed", async || listed(trial, &name).await.into_iter().next()).await;
    if can.costs {
        let price = placed.price_per_hour.expect("a price at purchase");
        assert!(price > trainyard_domain::Money::ZERO);
        let account = connector.account().await.expect("the account");
        assert!(account.credit.is_none_or(|credit| credit > trainyard_domain::Money::ZERO));
    }
    if can.machine_log {
        let log = connector.machine_log(&name, &placed.id, None).await.expect("the machine's log");
        let more = connector.machine_log(&name, &placed.id, log.cursor.as_deref()).await.expect("more of it");
        assert!(log.lines.len() <= 1000 && more.lines.len() <= 1000);
    }
    if can.bill {
        connector.bill(&name, &placed.id).await.expect("a bill, or that there is none yet");
    }
    if can.ssh {
        until(trial, "SSH is told", async || {
            connector.ssh(&name, &placed.id).await.expect("the way there, or that there is none yet")
        })
        .await;
    }
    assert!(connector.info().boot_deadline_s > 0 && connector.info().agent_lost_after_s > 0);
    let job = "job-that-never-was".parse().expect("a job's id");
    connector.forget(&job).await.expect("nothing kept is fine");
    Ok(())
}
