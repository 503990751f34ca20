//! RunPod's JSON, as it comes.
//!
//! Promises to read whatever an object of RunPod's holds: fields that are missing, new, null or of another type (a
//! number as a string) never fail a reading. What the words mean is said in `map`.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use trainyard_connector::mark_of;
use trainyard_domain::OrderName;

/// `GET /catalog/gpus`.
#[derive(Debug, Deserialize)]
pub(crate) struct GpuList {
    pub(crate) gpus: Vec<GpuType>,
}

/// A type of GPU with its prices and its stock.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct GpuType {
    pub(crate) id: Word,
    pub(crate) name: Word,
    pub(crate) manufacturer: Word,
    pub(crate) memory: Number,
    pub(crate) secure: Flag,
    pub(crate) community: Flag,
    pub(crate) price: PerCloud,
    pub(crate) max_count: PerCloud,
    pub(crate) availability: Word,
    pub(crate) data_centers: Option<Vec<DataCenter>>,
}

/// A number for each tier of the cloud.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PerCloud {
    pub(crate) secure: Number,
    pub(crate) community: Number,
}

/// A data centre that has a GPU.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct DataCenter {
    pub(crate) id: Word,
    pub(crate) availability: Word,
}

/// `GET /pods`: one page.
#[derive(Debug, Deserialize)]
pub(crate) struct PodPage {
    pub(crate) pods: Vec<Pod>,
    /// Missing in older answers: the last page.
    #[serde(default)]
    pub(crate) pagination: Option<Pagination>,
}

/// Where the next page is.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Pagination {
    pub(crate) next_cursor: Word,
    pub(crate) has_next_page: Flag,
}

/// A pod, as far as it is looked at.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Pod {
    pub(crate) id: Word,
    pub(crate) name: Word,
    pub(crate) status: Word,
    pub(crate) gpu: Option<PodGpu>,
    pub(crate) disk: Number,
    /// US dollars per hour, of the GPUs; 0 where RunPod does not know.
    pub(crate) cost: Number,
    pub(crate) runtime: Option<Runtime>,
    /// Of its variables only the one that marks it.
    #[serde(deserialize_with = "marked")]
    pub(crate) env: Option<OrderName>,
}

/// The mark among a pod's variables; they are kept nowhere.
fn marked<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OrderName>, D::Error> {
    Ok(mark_of(&serde_json::Value::deserialize(deserializer)?))
}

/// The GPUs of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PodGpu {
    pub(crate) id: Word,
    pub(crate) count: Number,
}

/// What a running container shows; `{}` where it does not run yet.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Runtime {
    /// Seconds since the container (not the pod) started.
    pub(crate) uptime: Number,
    /// Its ports; there only once the container runs.
    pub(crate) ports: Option<Vec<IgnoredAny>>,
}

/// The data of one event of `GET /pods/{id}/logs`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct LogLine {
    pub(crate) ts: Word,
    pub(crate) source: Word,
    pub(crate) line: Word,
}

/// `GET /billing/pods`.
#[derive(Debug, Deserialize)]
pub(crate) struct Billing {
    pub(crate) records: Vec<BillingRecord>,
}

/// What one pod cost in one stretch of time.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct BillingRecord {
    pub(crate) pod_id: Word,
    pub(crate) total_amount: Number,
}

/// `GET /network-volumes/{id}`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct NetworkVolume {
    pub(crate) data_center: Word,
}

/// `GET /registries`.
#[derive(Debug, Deserialize)]
pub(crate) struct RegistryList {
    pub(crate) registries: Vec<Registry>,
}

/// A login at an image registry, without its password.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Registry {
    pub(crate) id: Word,
    pub(crate) name: Word,
}

/// `application/problem+json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) title: Word,
    pub(crate) status: Number,
    pub(crate) detail: Word,
    pub(crate) errors: Vec<Word>,
}

/// `POST /pods`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreatePod<'a> {
    pub(crate) name: &'a str,
    pub(crate) image: &'a str,
    pub(crate) entrypoint: [&'a str; 2],
    pub(crate) cmd: [&'a str; 1],
    pub(crate) gpu: CreateGpu<'a>,
    pub(crate) cloud: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) data_center_ids: Option<[&'a str; 1]>,
    pub(crate) disk: u32,
    pub(crate) ports: [String; 1],
    pub(crate) env: &'a std::collections::BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) registry: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mounts: Option<Mounts<'a>>,
}

/// What a pod mounts: at most one network volume.
#[derive(Debug, Serialize)]
pub(crate) struct Mounts<'a> {
    pub(crate) network: [NetworkMount<'a>; 1],
}

/// A network volume and where it is mounted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NetworkMount<'a> {
    pub(crate) volume_id: &'a str,
    pub(crate) path: &'a str,
}

/// The GPUs to order. `count` is always sent: without it nothing is found, although its default is said to be 1.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateGpu<'a> {
    pub(crate) id: &'a str,
    pub(crate) count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min_cuda_version: Option<&'a str>,
}

/// A text; empty where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Word(pub(crate) String);

/// A number; none where there is none that can be read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Number(pub(crate) Option<f64>);

/// Yes or no; none where it is neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Flag(pub(crate) Option<bool>);

/// What one JSON value holds, where it is no object and no list.
enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
    Other,
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Word(text),
            Scalar::Number(number) => Word(number.to_string()),
            Scalar::Flag(_) | Scalar::Other => Word::default(),
        })
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Number, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Text(text) => Number(text.trim().parse().ok().filter(|number: &f64| number.is_finite())),
            Scalar::Number(number) => Number(Some(number)),
            Scalar::Flag(_) | Scalar::Other => Number(None),
        })
    }
}

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Flag, D::Error> {
        Ok(match deserializer.deserialize_any(ScalarVisitor)? {
            Scalar::Flag(flag) => Flag(Some(flag)),
            Scalar::Text(_) | Scalar::Number(_) | Scalar::Other => Flag(None),
        })
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Scalar, E> {
        Ok(Scalar::Text(text))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number as f64))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::{Number, Pod};

    #[test]
    fn a_pod_is_read_whatever_its_fields_hold() {
        let odd = r#"{"id": 12, "name": ["x"], "status": null, "gpu": {"count": "2"}, "cost": "0.74", "disk": {},
                      "runtime": {}, "env": [7], "new": {"deep": [1, {"x": true}]}}"#;
        let pod: Pod = serde_json::from_str(odd).expect("a pod");
        assert_eq!((pod.id.0.as_str(), pod.name.0.as_str(), pod.status.0.as_str()), ("12", "", ""));
        assert_eq!((pod.cost, pod.disk), (Number(Some(0.74)), Number(None)));
        assert_eq!(pod.gpu.expect("a card").count, Number(Some(2.0)));
        assert_eq!(pod.runtime.expect("an empty runtime").uptime, Number(None));
    }
}
