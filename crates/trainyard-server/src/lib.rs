//! The HTTP skin of Trainyard: actix-web around the orchestrator, one file per endpoint.
//!
//! [`Server::bind`] takes the addresses (so that port 0 is known before anything is served), [`Bound::run`] serves
//! until its shutdown future resolves. Every answer has the documented JSON of `wire`; every error has
//! `{"error", "detail", "job_id", "code"}`. Nothing here decides anything about a job: commands go to
//! [`Orchestrator`](trainyard_orchestrator::Orchestrator), which lives on the caller's runtime.

mod body;
mod config;
mod downsample;
mod endpoints;
mod error;
mod file_body;
mod guard;
mod middleware;
mod openapi;
mod prefer;
mod query;
mod range;
mod routes;
mod serve;
mod state;
mod stream;
mod wire;

pub use config::{BodyLimits, ConnectionLimits, ServerConfig, StreamLimits};
pub use openapi::document as openapi_document;
pub use serve::{BindError, Bound, Server};
