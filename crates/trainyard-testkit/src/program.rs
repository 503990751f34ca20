//! Test programs with a `main` of their own, since they are their own agent on the machines that they start.
//!
//! ```text
//! trainyard_testkit::program_tests![the_first_test, the_second_test];    // in each module
//! trainyard_testkit::program::run(&[one::TESTS, other::TESTS], &[], within)    // in `main`
//! ```

use std::future::Future;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A test's name and the test.
pub type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// So many tests run at once: they mostly wait for other processes.
const AT_ONCE: usize = 3;

/// The tests of a module, by name: makes `TESTS`.
#[macro_export]
macro_rules! program_tests {
    ($($name:ident),* $(,)?) => {
        pub(crate) const TESTS: &[$crate::program::Test] =
            &[$((concat!(module_path!(), "::", stringify!($name)), || Box::pin($name()))),*];
    };
}

/// Runs the tests, three at once, then those that measure, one by one. Arguments select those whose name holds one of them.
/// A test that takes longer than `within` fails.
///
/// # Panics
/// If no runtime can be made.
pub fn run(tests: &[&[Test]], alone: &[Test], within: Duration) -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let chosen = |test: &&Test| wanted.is_empty() || wanted.iter().any(|part| test.0.contains(part.as_str()));
    let together: Vec<&Test> = tests.iter().copied().flatten().filter(chosen).collect();
    let alone: Vec<&Test> = alone.iter().filter(chosen).collect();
    let failed = all(&together, AT_ONCE, within) + all(&alone, 1, within);
    println!("{} tests, {failed} failed", together.len() + alone.len());
    ExitCode::from(u8::from(failed > 0))
}

fn all(tests: &[&Test], at_once: usize, within: Duration) -> usize {
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    failed.fetch_add(usize::from(!passes(test, within)), Ordering::Relaxed);
                }
            });
        }
    });
    failed.into_inner()
}

/// In a thread of its own with the test's name, so that a panic ends only the test and says which.
fn passes((name, test): &Test, within: Duration) -> bool {
    let begin = Instant::now();
    let test = *test;
    let thread = std::thread::Builder::new().name((*name).to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async { tokio::time::timeout(within, test()).await })
    });
    let word = match thread.expect("a thread").join() {
        Ok(Ok(())) => "ok",
        Ok(Err(_)) => "FAILED: too slow",
        Err(_) => "FAILED",
    };
    println!("test {name} ... {word} ({} ms)", begin.elapsed().as_millis());
    word == "ok"
}
