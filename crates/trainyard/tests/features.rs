//! What each selection of features is good for, in a program that embeds it: `cargo xtask features` runs this with every
//! provider alone.
//!
//! No test harness: the program is its own agent, so it has a `main` that begins with the hook.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

use std::process::ExitCode;

/// Every provider that this build knows.
const COMPILED: &[&str] = &[
    #[cfg(feature = "local")]
    "local",
    #[cfg(feature = "runpod")]
    "runpod",
    #[cfg(feature = "lambda")]
    "lambda",
    #[cfg(feature = "vastai")]
    "vastai",
];

fn main() -> ExitCode {
    #[cfg(feature = "agent")]
    if let Some(code) = trainyard::agent_entry() {
        return code;
    }
    #[cfg(feature = "sqlite")]
    tokio::runtime::Runtime::new().expect("a runtime").block_on(opened::all());
    let words = if COMPILED.is_empty() { "no provider".to_owned() } else { COMPILED.join(", ") };
    say(&format!("features: passed with {words}"));
    ExitCode::SUCCESS
}

fn say(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}

#[cfg(feature = "sqlite")]
mod opened {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use trainyard::{Config, Orchestrator};

    use super::COMPILED;

    /// Longest time for what is asked to end.
    const ENDED_WITHIN: Duration = Duration::from_secs(5);

    pub(super) async fn all() {
        every_provider_is_listed_and_none_has_a_key().await;
        a_key_configures_a_cloud().await;
        #[cfg(feature = "local")]
        a_job_trains_on_this_machine().await;
    }

    /// Over a directory of its own, with one slot and no GPU.
    fn config(directory: &tempfile::TempDir) -> Config {
        let mut config = Config::new(directory.path().join("data"));
        let local = config.local.as_mut().expect("`local` is on by default");
        (local.cpu_slots, local.use_gpus) = (Some(1), false);
        config
    }

    /// The names of the providers, those alone that can be submitted to where it is asked for.
    fn names(orchestrator: &Orchestrator, configured: bool) -> BTreeSet<String> {
        let all = orchestrator.providers().into_iter();
        all.filter(|provider| provider.configured || !configured).map(|provider| provider.name).collect()
    }

    async fn every_provider_is_listed_and_none_has_a_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let orchestrator = trainyard::open(config(&directory)).await.expect("it opens");
        let compiled: BTreeSet<String> = COMPILED.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(names(&orchestrator, false), compiled);
        let here = compiled.into_iter().filter(|name| name == "local").collect();
        assert_eq!(names(&orchestrator, true), here, "only this machine needs no key");
        for provider in orchestrator.providers() {
            assert!(provider.configured || provider.how_to_configure.is_some(), "{}", provider.name);
        }
        orchestrator.shutdown(ENDED_WITHIN).await;
    }

    /// Nobody listens where these point to: a cloud is configured by its key alone.
    async fn a_key_configures_a_cloud() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut config = config(&directory);
        config.local = None;
        #[cfg(feature = "runpod")]
        {
            config.clouds.runpod = Some(trainyard::RunPodOptions {
                key: "key".into(),
                url: Some("http://127.0.0.1:9".to_owned()),
                proxy_url: None,
                image: None,
                network_volume: None,
                community: false,
                settle_s: None,
            });
        }
        #[cfg(feature = "lambda")]
        {
            config.clouds.lambda = Some(trainyard::LambdaOptions {
                key: "key".into(),
                url: Some("http://127.0.0.1:9".to_owned()),
                ssh_port: None,
                strict_host_keys: false,
                image_family: None,
                file_system: None,
                settle_s: None,
            });
        }
        #[cfg(feature = "vastai")]
        {
            config.clouds.vastai = Some(trainyard::VastOptions {
                key: "key".into(),
                url: Some("http://127.0.0.1:9".to_owned()),
                image: None,
                min_reliability: None,
                settle_s: None,
            });
        }
        let orchestrator = trainyard::open(config).await.expect("it opens");
        let clouds =
            COMPILED.iter().filter(|name| **name != "local").map(|name| (*name).to_owned()).collect();
        assert_eq!(names(&orchestrator, true), clouds);
        orchestrator.shutdown(ENDED_WITHIN).await;
    }

    #[cfg(feature = "local")]
    async fn a_job_trains_on_this_machine() {
        use trainyard::domain::{EventBody, JobSpec, Trainer, TrainerKind};

        let directory = tempfile::tempdir().expect("a directory");
        let orchestrator = trainyard::open(config(&directory)).await.expect("it opens");
        let mut spec = JobSpec::new("any");
        let script = "echo weights > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"";
        spec.trainer = Trainer {
            kind: Some(TrainerKind::Command),
            command: Some(["sh", "-c", script].map(str::to_owned).to_vec()),
            ..spec.trainer
        };
        orchestrator.create_job(Some("job_1".parse().expect("an id")), spec).await.expect("it is made");
        let job = orchestrator.start_training("job_1", "local").await.expect("it is submitted").job;
        let mut events = orchestrator.events(job.id(), Some(Default::default())).await.expect("events");
        let mut last = None;
        while let Some(event) = events.next().await {
            if let EventBody::Status(status) = &event.expect("an event").event.body {
                last = Some(status.state.to_string());
            }
        }
        assert_eq!(last.as_deref(), Some("completed"));
        let artifact = orchestrator.artifact(job.id()).await.expect("its artifact");
        assert_eq!(std::fs::read(artifact.path).expect("the file"), b"weights\n");
        orchestrator.shutdown(ENDED_WITHIN).await;
    }
}
