//! Futures dropped at any await: the truth can be found all the same.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::make::*;
use super::trial::{Can, Trial};

/// Most awaits that are tried.
const AWAITS: usize = 8;

/// Polls a future so many times, each when it asks for it, and drops it then.
struct DropAfter<F> {
    inner: Pin<Box<F>>,
    left: usize,
}

impl<F: Future> Future for DropAfter<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        match this.inner.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if this.left == 0 => Poll::Ready(None),
            Poll::Pending => {
                this.left -= 1;
                Poll::Pending
            }
        }
    }
}

fn drop_after<F: Future>(polls: usize, future: F) -> DropAfter<F> {
    DropAfter { inner: Box::pin(future), left: polls }
}

pub(super) async fn dropped_orders(trial: &dyn Trial) -> Can<()> {
    for polls in 0..AWAITS {
        let order = new_order(trial).await;
        let connector = trial.connector();
        let ended = drop_after(polls, connector.provision(&order)).await;
        // What was on its way arrives, or does not.
        trial.pass(std::time::Duration::from_millis(300)).await;
        let truth = alive(trial, &order.name).await?;
        assert!(truth <= 1, "{truth} machines for one order");
        if truth == 1 {
            let seen = found(trial, &order.name).await;
            give_back(trial, &seen).await;
        }
        if ended.is_some_and(|result| result.is_ok()) {
            break;
        }
    }
    Ok(())
}

pub(super) async fn dropped_removals(trial: &dyn Trial) -> Can<()> {
    for polls in 0..AWAITS {
        let (name, placed) = place(trial).await;
        let seen = found(trial, &name).await;
        let connector = trial.connector();
        let ended = drop_after(polls, connector.terminate(&name, &placed.id)).await;
        give_back(trial, &seen).await;
        if ended.is_some() {
            break;
        }
    }
    Ok(())
}
