//! Lambda's calls: the only file that knows its paths.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::json;
use trainyard_connector::ConnectorError;
use trainyard_connector::http::{self, Answer, Call, HttpClient, HttpConfig, Method, Repeat};
use trainyard_domain::ProviderName;

use crate::config::{Auth, LambdaConfig};
use crate::error::{is_no_such, refusal};
use crate::wire::{Data, FileSystem, Instance, InstanceTypes, Launch, Launched, RegisteredKey, Terminated};

/// The operation that has a pace of its own.
pub(crate) const LAUNCH: &str = "launch";
/// A launch answers when the machine is being made: nine seconds were seen.
const LAUNCH_WITHIN: Duration = Duration::from_secs(90);
/// Most bytes of an answer: a listing of a thousand machines has about two megabytes.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Lambda's Cloud API with one key.
#[derive(Debug, Clone)]
pub(crate) struct Api {
    http: HttpClient,
}

impl Api {
    pub(crate) fn new(provider: ProviderName, config: &LambdaConfig) -> Result<Api, ConnectorError> {
        let auth = match config.auth {
            Auth::Bearer => http::Auth::Bearer(config.key.clone()),
            Auth::Basic => http::Auth::BasicUser(config.key.clone()),
        };
        let mut http = HttpConfig::new(provider, config.url.clone(), auth);
        http.paces = config.paces.clone();
        http.answer_bytes_max = ANSWER_BYTES_MAX;
        // A 429 after a launch that was carried out was seen (skypilot#2261).
        http.too_many_is_refusal = false;
        Ok(Api { http: HttpClient::new(http)? })
    }

    /// What can be rented, and where there is some now.
    pub(crate) async fn instance_types(&self) -> Result<InstanceTypes, ConnectorError> {
        self.read(Call::get("types", "/instance-types")).await
    }

    /// Every machine of the account: there are no pages and no filters.
    pub(crate) async fn instances(&self) -> Result<Vec<Instance>, ConnectorError> {
        self.read(Call::get("list", "/instances")).await
    }

    /// One machine.
    pub(crate) async fn instance(&self, id: &str) -> Result<Instance, ConnectorError> {
        self.read(Call::get("get", format!("/instances/{}", segment(id)))).await
    }

    /// Rents a machine. Never repeated.
    pub(crate) async fn launch(&self, body: &Launch) -> Result<Launched, ConnectorError> {
        let mut call = Call::new(LAUNCH, Method::POST, "/instance-operations/launch", Repeat::Never);
        call.body = Some(json!(body));
        call.within = Some(LAUNCH_WITHIN);
        self.read(call).await
    }

    /// Gives one machine back. What several ids at once do when one of them fails is not known.
    pub(crate) async fn terminate(&self, id: &str) -> Result<Terminated, ConnectorError> {
        let path = "/instance-operations/terminate";
        // Asking twice does no harm, but the second answer may be an error that hides the first.
        let mut call = Call::new("terminate", Method::POST, path, Repeat::Never);
        call.body = Some(json!({ "instance_ids": [id] }));
        self.read(call).await
    }

    /// Every SSH key of the account.
    pub(crate) async fn ssh_keys(&self) -> Result<Vec<RegisteredKey>, ConnectorError> {
        self.read(Call::get("keys", "/ssh-keys")).await
    }

    /// Every file system of the account.
    pub(crate) async fn file_systems(&self) -> Result<Vec<FileSystem>, ConnectorError> {
        self.read(Call::get("file_systems", "/file-systems")).await
    }

    /// Registers an SSH key.
    pub(crate) async fn add_ssh_key(
        &self,
        name: &str,
        public: &str,
    ) -> Result<RegisteredKey, ConnectorError> {
        let mut call = Call::new("add_key", Method::POST, "/ssh-keys", Repeat::Never);
        call.body = Some(json!({ "name": name, "public_key": public }));
        self.read(call).await
    }

    /// Removes an SSH key. One that is not there any more is as good.
    pub(crate) async fn delete_ssh_key(&self, id: &str) -> Result<(), ConnectorError> {
        let path = format!("/ssh-keys/{}", segment(id));
        let call = Call::new("delete_key", Method::DELETE, path, Repeat::Freely);
        match self.read::<serde::de::IgnoredAny>(call).await {
            Err(error) if !is_no_such(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn read<T: DeserializeOwned>(&self, call: Call) -> Result<T, ConnectorError> {
        let answer: Answer = self.http.call(call).await?;
        // Creations answer 200 too. Anything else that calls itself a success is none that is known.
        if answer.status != 200 {
            return Err(refusal(&answer));
        }
        answer.json::<Data<T>>().map(|wrapped| wrapped.data)
    }
}

/// An id as a part of a path; theirs are hexadecimal digits and dashes.
fn segment(id: &str) -> String {
    let keep = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    let mut path = String::with_capacity(id.len());
    for byte in id.bytes() {
        if keep(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::segment;

    #[test]
    fn an_id_stays_one_part_of_a_path() {
        assert_eq!(segment("0920582c7ff041399e34823a0be62549"), "0920582c7ff041399e34823a0be62549");
        assert_eq!(segment("../x?y=1"), "..%2Fx%3Fy%3D1");
    }
}
