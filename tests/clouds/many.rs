//! Many jobs at once, and machines whose containers are started again and again.

use serde_json::json;
use trainyard_simulator::Vendor;
use trainyard_simulator::faults::{Fault, Rule};

use crate::yard::{VENDORS, Yard, placed, sh};

#[test]
fn thirty_jobs_at_once_are_independent_and_right_at_the_end() {
    let yard = Yard::new();
    let providers = ["runpod", "lambda", "vastai", "local"];
    let place = |n: usize| providers[n % providers.len()];
    for n in 0..30 {
        let id = format!("job-{n}");
        // Each its own output; every seventh fails in its own way.
        let script = format!(
            "echo '{{\"step\": 1, \"loss\": {n}.5}}' >> \"$TRAINYARD_METRICS_FILE\"; echo I am {n}; sleep 1; \
             [ $(({n} % 7)) = 6 ] && exit {}; printf 'adapter {n}' > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"",
            n + 1
        );
        yard.create(&id, &sh(&script));
        let call = yard.http.call("POST", &format!("/api/training/jobs/{id}/submit"));
        let answer = call.header("Prefer", "respond-async").json(&json!({"provider": place(n)})).send();
        assert!(answer.status == 200 || answer.status == 202, "{n}: {} {}", answer.status, answer.text());
    }
    for n in 0..30 {
        let id = format!("job-{n}");
        if n % 7 == 6 {
            let status = yard.await_state(&id, "failed");
            assert_eq!(status["exit_code"], n + 1, "{status}");
        } else {
            yard.await_state(&id, "completed");
            let artifact = yard.poke(&id, "/download-artifact").ok(200);
            let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
            assert_eq!(bytes, format!("adapter {n}").as_bytes());
            assert_eq!(artifact["metadata"]["provider"], place(n));
        }
        assert_eq!(yard.status(&id)["current_metrics"]["loss"], n as f64 + 0.5, "job {n}");
        assert!(yard.log(&id).contains(&format!("I am {n}\n")), "job {n}");
        yard.await_gone(&id);
    }
    yard.assert_empty();
    assert_eq!(yard.world().machines().len(), 23, "one machine for each job of the clouds");
}

#[test]
fn a_container_that_is_started_again_ten_times_trains_once() {
    for (vendor, provider) in VENDORS {
        if vendor == Vendor::Lambda {
            // Nothing is started again there.
            continue;
        }
        for code in [0, 1] {
            let yard = Yard::new();
            yard.world().add_fault(Rule::once(
                vendor,
                "create",
                Fault::Exits { code, times: 10, after_ms: 200 },
            ));
            let mark = yard.server.directory().join("trained");
            let script = format!(
                "echo once >> '{}'; printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"",
                mark.display()
            );
            let mut spec = sh(&script);
            spec["retry"] = json!({"max_attempts": 1});
            yard.create("r", &spec);
            yard.submit("r", provider);
            let status = yard.await_status("r", "its end", |status| {
                ["completed", "failed"].iter().any(|end| status["state"] == *end)
            });
            yard.await_gone("r");
            let trained = std::fs::read_to_string(&mark).unwrap_or_default();
            assert!(trained.lines().count() <= 1, "{provider}, exit {code}: trained more than once");
            if status["state"] == "completed" {
                assert_eq!((trained.as_str(), &status["exit_code"]), ("once\n", &json!(0)));
            } else {
                // The one attempt it had was lost with its container, and is told so.
                let job = yard.get("r", "").ok(200);
                assert_eq!(placed(&job).len(), 1, "{job}");
                assert_eq!(status["exit_code"], json!(null), "{status}");
            }
        }
    }
}
