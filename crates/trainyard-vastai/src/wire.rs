//! Vast.ai's JSON, as far as it is needed.
//!
//! Vendors write numbers as strings, leave fields out and add others: what is not needed is not read, and a field of
//! another type than expected counts as absent. What Vast gives back in clear (`extra_env`, `onstart`, `image_args`,
//! `jupyter_token`) has no field here, so it can reach no log and no error.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Visitor};
use serde_json::Value;
use trainyard_connector::mark_of;
use trainyard_domain::OrderName;

/// A number, written as one or as a string.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) struct Num(pub(crate) f64);

impl Num {
    /// The number as a count or id: whole, not negative, exact.
    pub(crate) fn whole(self) -> Option<u64> {
        let exact = self.0 >= 0.0 && self.0.fract() == 0.0 && self.0 < 9_007_199_254_740_992.0;
        exact.then_some(self.0 as u64)
    }
}

impl<'de> Deserialize<'de> for Num {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Num, D::Error> {
        struct NumVisitor;
        impl Visitor<'_> for NumVisitor {
            type Value = Num;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number or a string that holds one")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Num, E> {
                Ok(Num(number as f64))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Num, E> {
                Ok(Num(number as f64))
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Num, E> {
                if number.is_finite() { Ok(Num(number)) } else { Err(E::custom("not finite")) }
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Num, E> {
                let number = text.trim().parse::<f64>().map_err(|_| E::custom("not a number"))?;
                self.visit_f64(number)
            }
        }
        deserializer.deserialize_any(NumVisitor)
    }
}

/// A field that counts as absent where it is not what it should be.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let value = Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).ok())
}

/// A field that may be null but must be there: an answer without it says nothing.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}

/// The answer of `POST /api/v0/bundles/`. Rows are read one by one: an unreadable one is left out.
#[derive(Debug, Deserialize)]
pub(crate) struct OffersAnswer {
    pub(crate) offers: Vec<Value>,
}

/// One offer ("ask").
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct AskRow {
    pub(crate) id: Num,
    pub(crate) machine_id: Num,
    pub(crate) gpu_name: String,
    pub(crate) num_gpus: Num,
    /// MB per card.
    pub(crate) gpu_ram: Num,
    /// Dollars per hour on demand, with the disk that was asked for.
    pub(crate) dph_total: Num,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) min_bid: Option<Num>,
    /// Dollars per GB and month.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) storage_cost: Option<Num>,
    /// Dollars per GB.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) inet_up_cost: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) inet_down_cost: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) verification: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) rentable: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) direct_port_count: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) geolocation: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) public_ipaddr: Option<String>,
    /// GB.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) disk_space: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) reliability2: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) cuda_max_good: Option<Num>,
    /// Seconds for which the machine can still be rented.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) duration: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) cpu_arch: Option<String>,
}

/// The answer of `GET /api/v0/gpu_names/unique/`.
#[derive(Debug, Deserialize)]
pub(crate) struct GpuNamesAnswer {
    pub(crate) gpu_names: Vec<String>,
}

/// One page of `GET /api/v1/instances/`.
#[derive(Debug, Deserialize)]
pub(crate) struct InstancesPage {
    pub(crate) instances: Vec<Instance>,
    #[serde(default)]
    pub(crate) next_token: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) total_instances: Option<Num>,
}

/// The answer of `GET /api/v0/instances/{id}/`: the key is plural, the value one object, or null where there is none.
#[derive(Debug, Deserialize)]
pub(crate) struct InstanceAnswer {
    #[serde(deserialize_with = "said")]
    pub(crate) instances: Option<Instance>,
}

/// A rented container.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Instance {
    pub(crate) id: Num,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) label: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) actual_status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) intended_status: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) cur_state: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) next_state: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) status_msg: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) num_gpus: Option<Num>,
    /// Dollars per hour as it is now, disk included.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) dph_total: Option<Num>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) is_bid: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) public_ipaddr: Option<String>,
    /// `"8000/tcp"` to where it is mapped; null until the container runs.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) ports: Option<BTreeMap<String, Option<Vec<PortMapping>>>>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) cpu_arch: Option<String>,
    /// Of its variables only the one that marks it: the others hold the key of its agent.
    #[serde(rename = "extra_env", default, deserialize_with = "marked")]
    pub(crate) mark: Option<OrderName>,
}

/// The mark among an instance's variables; they are kept nowhere.
fn marked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OrderName>, D::Error> {
    Ok(mark_of(&Value::deserialize(deserializer)?))
}

/// Where a port of a container is mapped.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct PortMapping {
    #[serde(rename = "HostPort", default, deserialize_with = "lenient")]
    pub(crate) host_port: Option<Num>,
}

/// What every answer may say of itself, success or not.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Verdict {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) success: Option<bool>,
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) error: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    msg: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    message: Option<String>,
    #[serde(default, deserialize_with = "lenient")]
    detail: Option<String>,
    /// The id of an instance, which stands in some refusals too.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) new_contract: Option<Num>,
}

impl Verdict {
    /// The text for a person, under whichever name it came.
    pub(crate) fn text(&self) -> Option<&str> {
        self.msg.as_deref().or(self.message.as_deref()).or(self.detail.as_deref())
    }
}

/// The answer of `PUT /api/v0/instances/request_logs/{id}/`.
#[derive(Debug, Deserialize)]
pub(crate) struct LogsAnswer {
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) result_url: Option<String>,
}

/// The answer of `GET /api/v0/users/current/`.
#[derive(Debug, Deserialize)]
pub(crate) struct UserAnswer {
    /// Dollars to spend. `balance` reads 0 on prepaid accounts.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) credit: Option<Num>,
}

/// One page of `GET /api/v0/charges/`.
#[derive(Debug, Deserialize)]
pub(crate) struct ChargesPage {
    pub(crate) results: Vec<Charge>,
    #[serde(default)]
    pub(crate) next_token: Option<String>,
}

/// What one contract has cost; or one kind of cost of it (`gpu`, `disk`, `bwd`, `bwu`).
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Charge {
    /// `instance-{id}`.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) source: Option<String>,
    /// Dollars, rounded to 3 decimals.
    #[serde(default, deserialize_with = "lenient")]
    pub(crate) amount: Option<Num>,
}
