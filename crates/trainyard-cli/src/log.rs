//! What a server says of its work, on stderr: `TRAINYARD_LOG` or `RUST_LOG` choose, `warn` where neither does.

use tracing_subscriber::EnvFilter;

use crate::config::Environment;
use crate::out::note;

/// Starts it. A choice that cannot be read is named and passed over.
pub(crate) fn start(environment: &Environment) {
    let chosen = environment.get("TRAINYARD_LOG").or_else(|| environment.get("RUST_LOG"));
    let filter = match chosen.map(EnvFilter::try_new) {
        Some(Ok(filter)) => filter,
        Some(Err(error)) => {
            note(format!(
                "TRAINYARD_LOG cannot be used ({error}); write such as `info` or `trainyard_local=debug`"
            ));
            EnvFilter::new("warn")
        }
        None => EnvFilter::new("warn"),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::out::stderr_is_terminal());
    // Fails only where somebody set one before, as a test may.
    let _ = subscriber.try_init();
}
