//! What `validate` and `estimates` answer.

use serde::Serialize;
use trainyard_domain::FieldError;
use trainyard_orchestrator::{Estimate, Validation};
use utoipa::ToSchema;

use super::{CostWire, OfferWire, ReasonWire};

/// What was found before anything is paid.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ValidateAnswer {
    /// Whether nothing stands in the way of a submit.
    valid: bool,
    errors: Vec<FieldErrorWire>,
    warnings: Vec<FieldErrorWire>,
    /// What was looked at, in words.
    checked: Vec<String>,
}

/// A field and what is wrong with it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FieldErrorWire {
    field: String,
    message: String,
}

impl From<FieldError> for FieldErrorWire {
    fn from(FieldError { field, message }: FieldError) -> Self {
        FieldErrorWire { field, message }
    }
}

impl From<Validation> for ValidateAnswer {
    fn from(found: Validation) -> Self {
        ValidateAnswer {
            valid: found.errors.is_empty(),
            errors: found.errors.into_iter().map(FieldErrorWire::from).collect(),
            warnings: found.warnings.into_iter().map(FieldErrorWire::from).collect(),
            checked: found.checked,
        }
    }
}

/// Price and time over the configured providers.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EstimatesAnswer {
    estimates: Vec<EstimateWire>,
}

/// Price and time at one provider.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EstimateWire {
    provider: String,
    /// The cheapest machine that fits; null where nothing is rented, or none fits.
    offer: Option<OfferWire>,
    /// Most that the limits allow it to cost on that machine.
    max_cost: CostWire,
    /// What its traffic may cost on top, at most.
    max_traffic: CostWire,
    /// What it is expected to be billed; null where the length of the training was not asked about, or nothing is rented.
    expected: Option<ExpectedWire>,
    /// Least GPU memory, in GB, that the model and the method need; null where that cannot be told.
    least_gpu_memory_gb: Option<u32>,
    /// Longest that the limits allow it to run, in seconds.
    max_duration_s: u64,
    /// Why it cannot run there; null where it can.
    refused: Option<ReasonWire>,
}

/// What a run is expected to be billed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExpectedWire {
    /// Seconds, with the machine's coming and going, in whole units of its vendor.
    billed_s: u64,
    cost: CostWire,
}

impl From<Vec<Estimate>> for EstimatesAnswer {
    fn from(estimates: Vec<Estimate>) -> Self {
        let wire = |estimate: Estimate| EstimateWire {
            provider: estimate.provider,
            offer: estimate.offer.map(OfferWire::from),
            least_gpu_memory_gb: estimate.least_gpu_memory_gb,
            max_cost: estimate.max_cost.into(),
            max_traffic: estimate.max_traffic.into(),
            expected: estimate
                .expected
                .map(|expected| ExpectedWire { billed_s: expected.billed_s, cost: expected.cost.into() }),
            max_duration_s: estimate.max_duration_s,
            refused: estimate.refused.as_ref().map(ReasonWire::from),
        };
        EstimatesAnswer { estimates: estimates.into_iter().map(wire).collect() }
    }
}
