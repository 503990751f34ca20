//! One file a subject. Each measures its floor and itself by turns, so that a change of the machine's mood meets both.

mod artifact;
mod creates;
mod creates_http;
mod fanout;
mod finish;
mod metrics;
mod noop;
mod pages;
mod start;
mod status;
mod thousand;
mod trainer;
mod vendors;

use crate::Fault;
use crate::bench::Bench;
use crate::table::Figure;

/// Every subject, in the order of the table.
pub(crate) const NAMES: [&str; 13] = [
    "status",
    "event",
    "artifact",
    "finish",
    "noop",
    "start",
    "create",
    "http-create",
    "page",
    "metrics",
    "cloud-1000",
    "vendors",
    "trainer",
];

/// Measures one subject.
pub(crate) async fn measure(name: &str, bench: &Bench) -> Result<Vec<Figure>, Fault> {
    match name {
        "status" => status::measure(bench).await,
        "event" => fanout::measure(bench).await,
        "finish" => finish::measure(bench).await,
        "noop" => noop::measure(bench).await,
        "start" => start::measure(bench).await,
        "http-create" => creates_http::measure(bench).await,
        "cloud-1000" => thousand::measure(bench).await,
        "vendors" => vendors::measure(bench).await,
        "trainer" => trainer::measure(bench).await,
        "create" => creates::measure(bench).await,
        "metrics" => metrics::measure(bench).await,
        "page" => pages::measure(bench).await,
        "artifact" => artifact::measure(bench).await,
        _ => Err(format!("there is no figure `{name}`").into()),
    }
}
