//! Logins at image registries that RunPod keeps for our pods.
//!
//! A pod whose image needs a login gets one of its own at RunPod, under the order's exact name. It is deleted when the
//! pod is asked to go or was refused. What a crash between the two leaves is found by its name when this process
//! first gives a pod back, and by the orchestrator's own look through the account.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use trainyard_connector::{ConnectorError, Effect, ErrorKind, RegistryLogin};
use trainyard_domain::{InstallationId, OrderName};

use crate::api::Api;

/// Which order has which login at RunPod.
#[derive(Debug)]
pub(crate) struct Logins {
    installation: InstallationId,
    /// None until RunPod was asked once, which a process that makes no login does at its first removal of a pod.
    known: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: bool,
    of: HashMap<OrderName, String>,
}

impl Logins {
    pub(crate) fn new(installation: InstallationId) -> Logins {
        Logins { installation, known: Mutex::default() }
    }

    /// The id of the order's login, made where there is none.
    ///
    /// # Errors
    /// What RunPod answered. After an unknown outcome none of the machine's was ordered, so the effect is none.
    pub(crate) async fn make(
        &self,
        api: &Api,
        order: &OrderName,
        login: &RegistryLogin,
    ) -> Result<String, ConnectorError> {
        let made = match api.create_registry(order, login).await {
            Ok(made) if !made.id.0.is_empty() => made,
            other => {
                // It may be there all the same: RunPod is asked for it before it is dropped.
                self.known().asked = false;
                let unnamed = ConnectorError::refused(
                    ErrorKind::Unreachable,
                    "RunPod made a login at the image registry and did not name it",
                );
                let error = other.err().unwrap_or(unnamed);
                return Err(ConnectorError { effect: Effect::None, ..error });
            }
        };
        self.known().of.insert(order.clone(), made.id.0.clone());
        Ok(made.id.0)
    }

    /// Deletes the order's login, if it has one. What fails is tried again with the next call.
    pub(crate) async fn drop_of(&self, api: &Api, order: &OrderName) {
        if let Err(error) = self.try_drop(api, order).await {
            tracing::warn!(%order, %error, "a login at an image registry stays at RunPod");
        }
    }

    async fn try_drop(&self, api: &Api, order: &OrderName) -> Result<(), ConnectorError> {
        if !self.known().asked {
            let found = api.registries().await?;
            let mut known = self.known();
            known.asked = true;
            for login in found {
                if let Ok(order) = login.name.0.parse::<OrderName>()
                    && order.installation() == self.installation.as_str()
                {
                    known.of.insert(order, login.id.0);
                }
            }
        }
        let Some(id) = self.known().of.get(order).cloned() else { return Ok(()) };
        api.delete_registry(&id).await?;
        self.known().of.remove(order);
        Ok(())
    }

    /// The order's login is gone.
    pub(crate) fn forget(&self, order: &OrderName) {
        self.known().of.remove(order);
    }

    fn known(&self) -> MutexGuard<'_, State> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
