//! What goes wrong on a rented machine, and what the user is told of it.

use serde_json::{Value, json};
use trainyard_simulator::Options;
use trainyard_simulator::faults::{Fault, Rule};

use crate::yard::{VENDORS, Yard, list, sh};

#[test]
fn a_training_that_fails_is_told_with_its_last_lines_and_never_repeated() {
    for (_, provider) in VENDORS {
        let yard = Yard::new();
        yard.create("f", &sh("echo about to break; echo 'ValueError: no such column: text' >&2; exit 1"));
        yard.submit("f", provider);
        let status = yard.await_state("f", "failed");
        assert_eq!((&status["exit_code"], &status["reason"]["code"]), (&json!(1), &json!("training_failed")));
        assert!(status["reason"]["suggestion"].is_string(), "{status}");
        assert!(yard.log("f").contains("ValueError: no such column"), "{}", yard.log("f"));
        let told = yard.get("f", "/notifications").ok(200).to_string();
        assert!(told.contains("What to do"), "{told}");
        yard.await_gone("f");
        assert_eq!(yard.machines_of("f").len(), 1, "{provider}");
    }
}

#[test]
fn a_broken_image_is_told_in_the_vendors_words_and_tried_nowhere_else() {
    for (vendor, provider) in VENDORS {
        if provider == "lambda" {
            // Whole machines: there is no image of the job's to be broken.
            continue;
        }
        let yard = Yard::new();
        let text = "manifest for nobody/nothing:latest not found: manifest unknown";
        yard.world().add_fault(Rule::always(
            vendor,
            "create",
            Fault::BrokenImage { text: Some(format!("Error response from daemon: {text}")) },
        ));
        let mut spec = sh("true");
        spec["environment"] = json!({"image": "nobody/nothing:latest"});
        yard.create("f", &spec);
        yard.submit("f", provider);
        let status = yard.await_state("f", "failed");
        let reason = status["reason"].to_string();
        assert!(reason.contains("manifest"), "{provider}: {reason}");
        assert!(status["reason"]["suggestion"].is_string(), "{status}");
        yard.await_gone("f");
        assert_eq!(yard.machines_of("f").len(), 1, "{provider}: no other machine could help");
    }
}

#[test]
fn a_machine_that_dies_is_replaced_and_the_job_completes() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.world().add_fault(Rule::once(vendor, "create", Fault::ConsoleDelete { after_ms: 1500 }));
        let script = "if [ \"$TRAINYARD_ATTEMPT\" = 1 ]; then sleep 600; fi; \
                      printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"";
        yard.create("f", &sh(script));
        yard.submit("f", provider);
        let status = yard.await_state("f", "completed");
        assert_eq!(status["attempt"], 2, "{status}");
        let job = yard.await_gone("f");
        let first = &list(&job["attempts"])[0]["reason"]["code"];
        assert!(["machine_lost", "agent_lost"].iter().any(|code| first == code), "{provider}: {job}");
        assert_eq!(yard.machines_of("f").len(), 2, "{provider}");
    }
}

#[test]
fn without_credit_nothing_is_rented_and_the_job_stays_created() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.world().add_fault(Rule::always(vendor, "create", Fault::NoCredit));
        yard.create("f", &sh("true"));
        let answer = yard.submit("f", provider);
        answer.error(500, "no_credit");
        stays_created(&yard, provider);
        assert_eq!(yard.world().count(vendor, "create").asked, 1, "{provider}: no other offer helps");
    }
}

#[test]
fn without_stock_every_fitting_offer_is_tried_and_the_job_stays_created() {
    for (vendor, provider) in VENDORS {
        let yard = Yard::new();
        yard.world().add_fault(Rule::always(vendor, "create", Fault::NoCapacity));
        yard.create("f", &sh("true"));
        yard.submit("f", provider).error(500, "no_capacity");
        stays_created(&yard, provider);
        let job = yard.get("f", "").ok(200);
        let tried = list(&job["attempts"]).len();
        assert!(tried > 1, "{provider}: {job}");
        assert!(
            list(&job["attempts"]).iter().all(|attempt| attempt["reason"]["code"] == "no_capacity"),
            "each with its reason: {job}"
        );
        // The vendor has some again: the same job goes.
        yard.world().set_faults(trainyard_simulator::faults::FaultPlan::default());
        yard.submit("f", "local");
        yard.await_state("f", "completed");
    }
}

#[test]
fn a_wrong_key_is_told_and_the_others_are_not_affected() {
    for (vendor, provider) in VENDORS {
        let variable = match provider {
            "runpod" => "RUNPOD_API_KEY",
            "lambda" => "LAMBDA_API_KEY",
            _ => "VAST_API_KEY",
        };
        let yard = Yard::with(Options::for_tests(), &[(variable, Some("not-the-key-0123456789"))]);
        yard.create("f", &sh("printf x > \"$TRAINYARD_OUTPUT_DIR/x\""));
        let answer = yard.submit("f", provider);
        answer.error(500, "provider_unauthorized");
        assert!(!answer.text().contains("not-the-key"), "{}", answer.text());
        stays_created(&yard, provider);
        assert!(yard.world().machines().is_empty());
        let (_, other) = VENDORS.into_iter().find(|(other, _)| *other != vendor).expect("another");
        yard.submit("f", other);
        yard.await_state("f", "completed");
        yard.await_gone("f");
    }
}

#[test]
fn a_provider_that_is_not_configured_says_how_to_configure_it() {
    let yard = Yard::with(Options::for_tests(), &[("RUNPOD_API_KEY", None)]);
    yard.create("f", &sh("true"));
    let answer = yard.submit("f", "runpod").error(400, "provider_not_configured");
    assert!(answer["detail"].as_str().expect("`detail`").contains("RUNPOD_API_KEY"), "{answer}");
    let providers = yard.http.get("/api/training/providers").ok(200);
    let runpod: Vec<&Value> =
        list(&providers["providers"]).iter().filter(|provider| provider["name"] == "runpod").collect();
    assert_eq!((runpod.len(), &runpod[0]["configured"]), (1, &json!(false)));
    assert!(runpod[0]["how_to_configure"].is_string());
}

/// After a refusal: `created`, nothing rented, the tries in the history.
#[track_caller]
fn stays_created(yard: &Yard, provider: &str) {
    let status = yard.status("f");
    assert_eq!(status["state"], "created", "{provider}: {status}");
    assert!(yard.world().alive().is_empty());
}
