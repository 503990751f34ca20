//! The layers around the routes, from the outside in: [`outermost`] (headers, log line, counters), [`guard()`] (who may
//! speak), [`idempotency()`] (asked twice, done once), [`errors()`] (every error in one form, panics too).

mod errors;
mod guard;
mod idempotency;
mod outermost;

pub(crate) use errors::errors;
pub(crate) use guard::guard;
pub(crate) use idempotency::idempotency;
pub(crate) use outermost::outermost;

/// What a layer answers with.
pub(crate) type Answer = Result<actix_web::dev::ServiceResponse, actix_web::Error>;
/// The layer further in.
pub(crate) type Inner = actix_web::middleware::Next<actix_web::body::BoxBody>;
