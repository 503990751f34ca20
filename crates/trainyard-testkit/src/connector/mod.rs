//! Cases for connectors: each promise of `trainyard_connector::{Connector, Workload}`, in one sentence and one function.
//!
//! A provider's crate writes a [`ConnectorHarness`] and one of these:
//!
//! - [`connector_conformance!`](crate::connector_conformance): one `#[tokio::test]` for each case.
//! - [`run_all`], from a `main` of its own: where the test binary is also the agent on the machines.
//!
//! A case needs what it needs: a fault that can be injected, the truth shown. A harness that cannot do that says why, and
//! the case is told as *not run*, with the reason, past the capture of output; it never counts as passed.

mod artifact;
mod cancellation;
mod capabilities;
mod effect;
mod limits;
mod lists;
mod make;
mod observe;
mod offers;
mod ownership;
mod running;
mod secrets;
mod terminate;
mod trial;

use std::any::Any;
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

pub use trial::{Can, ConnectorHarness, Fault, NotRun, Operation, Trial, TrueMachine};

/// One case may take this long, on a loaded machine.
const CASE_WITHIN: Duration = Duration::from_secs(180);

/// One promise and how it is checked.
pub struct Case {
    /// The case's name, which is the test's.
    pub name: &'static str,
    /// What is promised, in one sentence.
    pub promise: &'static str,
    /// Whether it needs agents that answer.
    agents: bool,
    run: for<'a> fn(&'a dyn Trial) -> LocalBoxFuture<'a, Can<()>>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.name, self.promise)
    }
}

macro_rules! case {
    ($module:ident :: $name:ident, $promise:literal) => { case!(@ $module, $name, $promise, false) };
    ($module:ident :: $name:ident with agents, $promise:literal) => { case!(@ $module, $name, $promise, true) };
    (@ $module:ident, $name:ident, $promise:literal, $agents:literal) => {
        Case {
            name: stringify!($name),
            promise: $promise,
            agents: $agents,
            run: |trial| Box::pin($module::$name(trial)),
        }
    };
}

/// Every case.
pub fn cases() -> Vec<Case> {
    of_machines().into_iter().chain(of_trainings()).collect()
}

fn of_machines() -> Vec<Case> {
    vec![
        case!(
            ownership::listed_by_name,
            "a machine that was placed is listed under its order's exact name, once"
        ),
        case!(ownership::nobody_elses, "machines of others on the same account are never listed"),
        case!(
            ownership::found_after_restart,
            "a connector opened later finds the machines of an earlier one"
        ),
        case!(ownership::every_page, "a list of several pages comes whole, each machine once"),
        case!(offers::meet_the_need, "offers meet the need, the cheapest first, and not too many"),
        case!(offers::stable_ids, "two readings of the same offer give the same id"),
        case!(offers::nothing_fits, "a need that nothing meets has no offers and no machine"),
        case!(effect::unreachable, "an order that cannot be sent had no effect, and says so"),
        case!(effect::lost_before, "an order that got lost on its way leaves nothing, and is not sent again"),
        case!(effect::lost_after, "an order whose answer got lost has one machine, found by its name"),
        case!(effect::stalled_after, "an order without an answer has one machine, found by its name"),
        case!(effect::failed_after, "an order that was done and answered with 500 is not sent again"),
        case!(effect::cut_answer, "an order whose answer breaks off is no failure without effect"),
        case!(effect::other_answer, "an order answered with something else is searched for, not forgotten"),
        case!(effect::too_many, "an order refused as one too many leaves at most one machine"),
        case!(effect::no_capacity, "an order without capacity had no effect, and says `NoCapacity`"),
        case!(effect::no_credit, "an order without money had no effect, and says `NoCredit`"),
        case!(effect::price_jump, "a machine dearer than the order allows is not kept"),
        case!(effect::other_size, "a machine with fewer cards than asked for is not kept"),
        case!(terminate::twice, "a machine that is given back twice is gone all the same"),
        case!(terminate::unknown, "an id that the provider does not know can be given back"),
        case!(terminate::while_booting, "a machine that has not come up is given back like any other"),
        case!(terminate::gone_is_true, "a machine is called gone only when nothing of it is left"),
        case!(terminate::ignored, "a removal that was accepted and not done is not called gone"),
        case!(terminate::already_removed, "a machine that the vendor removed already can be given back"),
        case!(terminate::answer_lost, "a removal whose answer got lost is asked for again"),
        case!(terminate::answered_not_found, "a removal answered as unknown leaves nothing"),
        case!(observe::comes_up, "a machine comes up under the id and name that it was placed with"),
        case!(observe::vanished, "a machine that was taken away is gone"),
        case!(observe::unknown_word, "a state that nobody knows is kept as the vendor's word"),
        case!(observe::tolerant, "fields nobody documented and numbers as text change nothing"),
        case!(lists::cut, "a list that breaks off at any byte never shows fewer machines than there are"),
        case!(lists::no_list, "an answer that is no list proves nothing absent"),
        case!(lists::failed, "a list is asked for again after a 503"),
        case!(limits::waited_out, "a list is asked for again when the vendor says, after a 429"),
        case!(limits::refused_key, "a key that is refused is told as such, and not shown again and again"),
        case!(limits::wrong_key, "a wrong key is told as such, and rents nothing"),
        case!(limits::slow, "an answer that drips ends in bounded time"),
        case!(limits::huge, "an answer that is far too long is refused"),
        case!(limits::others_go_on, "a failing operation keeps no other one back"),
        case!(capabilities::off_is_unsupported, "what a provider cannot do is answered with `Unsupported`"),
        case!(capabilities::on_works, "what a provider says it can do works"),
        case!(secrets::key_is_nowhere, "the key is in no `Debug`, `Display` or error"),
        case!(secrets::nothing_on_the_machine, "what the vendor shows of a machine holds no key"),
        case!(cancellation::dropped_orders, "an order dropped at any await can be found and given back"),
        case!(cancellation::dropped_removals, "a removal dropped at any await can be asked for again"),
    ]
}

fn of_trainings() -> Vec<Case> {
    vec![
        case!(running::attached_again with agents, "whoever attaches later meets the same agent"),
        case!(running::events_once with agents, "events come in order, none missing, none twice, also across a reconnect"),
        case!(running::log_is_exact with agents, "the log read in pieces is the log, with bad UTF-8 and a line of a megabyte"),
        case!(running::exit_code with agents, "a training's exit code is told as it was"),
        case!(running::started_once with agents, "an attempt that is started twice runs once"),
        case!(running::stopped with agents, "a training that is stopped ends with every process of it"),
        case!(running::paused with agents, "where the provider can pause, a training stands still and goes on"),
        case!(running::no_agent_after_the_end with agents, "nothing answers on a machine that was given back"),
        case!(artifact::equal with agents, "files arrive as their digests say, the empty one too"),
        case!(artifact::resumed with agents, "a file is read on where an earlier reading broke off"),
        case!(artifact::only_outputs with agents, "nothing but the outputs can be read"),
        case!(artifact::inputs with agents, "an input handed over arrives whole, and twice is as good as once"),
    ]
}

/// How a case ended that broke no promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The promise was kept.
    Passed,
    /// It was not tried, for that reason.
    NotRun(String),
}

/// How all cases ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Names of those that passed.
    pub passed: Vec<&'static str>,
    /// Names of those that failed.
    pub failed: Vec<&'static str>,
    /// Names of those that were not run, with the reason.
    pub not_run: Vec<(&'static str, String)>,
}

/// Runs the case of that name. Says aloud, past the capture of output, where it was not run.
///
/// # Panics
/// Where the promise is broken, it takes longer than three minutes, or there is no such case.
pub async fn run(name: &str, harness: &dyn ConnectorHarness) -> Verdict {
    let all = cases();
    let Some(case) = all.iter().find(|case| case.name == name) else { panic!("no case is named `{name}`") };
    println!("{}", case.promise);
    let verdict = tried(case, harness).await;
    if let Verdict::NotRun(why) = &verdict {
        say(&format!("not run: {name}: {why}"));
    }
    verdict
}

/// Runs every case whose name holds one of `wanted` (none: all), one after the other, and prints each with its promise
/// and its verdict, and their number at the end, each line under the provider's name.
pub async fn run_all(provider: &str, harness: &dyn ConnectorHarness, wanted: &[String]) -> Summary {
    let mut summary = Summary::default();
    let chosen =
        |case: &Case| wanted.is_empty() || wanted.iter().any(|part| case.name.contains(part.as_str()));
    for case in cases().iter().filter(|case| chosen(case)) {
        let begun = Instant::now();
        let verdict = AssertUnwindSafe(tried(case, harness)).catch_unwind().await;
        let told = match verdict {
            Ok(Verdict::Passed) => {
                summary.passed.push(case.name);
                "ok".to_owned()
            }
            Ok(Verdict::NotRun(why)) => {
                let told = format!("not run: {why}");
                summary.not_run.push((case.name, why));
                told
            }
            Err(panic) => {
                summary.failed.push(case.name);
                format!("FAILED: {}", text_of(panic.as_ref()))
            }
        };
        let took = begun.elapsed().as_millis();
        say(&format!("{provider}/{}: {} ... {told} ({took} ms)", case.name, case.promise));
    }
    let counts = (summary.passed.len(), summary.failed.len(), summary.not_run.len());
    say(&format!("{provider}: {} cases passed, {} failed, {} not run", counts.0, counts.1, counts.2));
    summary
}

async fn tried(case: &Case, harness: &dyn ConnectorHarness) -> Verdict {
    let trial = harness.open(case.agents).await;
    let outcome =
        tokio::time::timeout(CASE_WITHIN, AssertUnwindSafe((case.run)(trial.as_ref())).catch_unwind()).await;
    // Nothing is left running or rented, however the case ended; a case that failed is told and not its end.
    trial.heal().await;
    let left = AssertUnwindSafe(make::clear(trial.as_ref())).catch_unwind().await;
    let end = AssertUnwindSafe(trial.end()).catch_unwind().await;
    let verdict = match outcome.expect("the case took longer than three minutes") {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(Err(NotRun(why))) => Verdict::NotRun(why),
        Ok(Ok(())) => Verdict::Passed,
    };
    match left.and(end) {
        Ok(()) => verdict,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

fn say(line: &str) {
    // Who cannot hear it does not miss it.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// One test for each case, on the harness that the expression makes.
#[macro_export]
macro_rules! connector_conformance {
    (@list $to:tt) => {
        $crate::connector_conformance! { @each $to;
            listed_by_name, nobody_elses, found_after_restart, every_page,
            meet_the_need, stable_ids, nothing_fits,
            unreachable, lost_before, lost_after, stalled_after, failed_after, cut_answer, other_answer, too_many,
            no_capacity, no_credit, price_jump, other_size,
            twice, unknown, while_booting, gone_is_true, ignored, already_removed, answer_lost, answered_not_found,
            comes_up, vanished, unknown_word, tolerant,
            cut, no_list, failed,
            waited_out, refused_key, wrong_key, slow, huge, others_go_on,
            off_is_unsupported, on_works,
            key_is_nowhere, nothing_on_the_machine,
            dropped_orders, dropped_removals,
            attached_again, events_once, log_is_exact, exit_code, started_once, stopped, paused, no_agent_after_the_end,
            equal, resumed, only_outputs, inputs }
    };
    (@each names; $($name:ident),*) => { [$(stringify!($name)),*] };
    (@each ($harness:expr); $($name:ident),*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                $crate::connector::run(stringify!($name), &$harness).await;
            }
        )*
    };
    (names) => { $crate::connector_conformance! { @list names } };
    ($harness:expr) => { $crate::connector_conformance! { @list ($harness) } };
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_macro_names_every_case() {
        let all: Vec<&str> = super::cases().iter().map(|case| case.name).collect();
        assert_eq!(crate::connector_conformance!(names).as_slice(), all.as_slice());
    }
}
