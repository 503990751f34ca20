//! What nobody claims: orphans go, what is not ours stays, renamed machines are known, fifty submits make one machine.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use trainyard_simulator::world::{Call, Environment, Kind, Machine, Order};
use trainyard_simulator::{Vendor, World};
use trainyard_tests::until;

use crate::yard::{JOBS, VENDORS, Yard, list, sh};

/// Seconds after which these clouds show a machine for certain, and how much later an orphan is gone at the latest.
const GONE_WITHIN: Duration = Duration::from_secs(3 + 60);

/// Rents a machine by hand, under that name.
pub(crate) fn by_hand(world: &World, vendor: Vendor, name: &str) -> Machine {
    let offer = world.offers(vendor).into_iter().find(|offer| offer.left > 0).expect("an offer");
    let order = Order {
        vendor,
        name: name.to_owned(),
        tags: BTreeMap::new(),
        offer: offer.id,
        units: 1,
        price_per_hour: None,
        kind: Kind::Container,
        image: "any".to_owned(),
        disk_gb: 20,
        program: Vec::new(),
        environment: Environment::fixed(BTreeMap::new()),
        ports: Vec::new(),
        mapped: false,
        service: None,
        details: json!({}),
    };
    world.place(&Call::plain(vendor, "create"), order).expect("a machine")
}

pub(crate) fn installation(yard: &Yard) -> String {
    yard.http.get("/api/training/resources").ok(200)["installation"].as_str().expect("its id").to_owned()
}

#[test]
fn an_orphan_with_our_mark_is_gone_in_time_and_foreign_machines_stay() {
    let yard = Yard::new();
    let (world, ours) = (yard.world(), installation(&yard));
    let (mut orphans, mut foreign) = (Vec::new(), Vec::new());
    for (vendor, provider) in VENDORS {
        orphans.push(by_hand(
            &world,
            vendor,
            &format!("ty-{ours}-7zzzzzzzzzzzzzzzzzzzzzzz{}", &provider[..2]),
        ));
        for name in ["my-own-machine", "ty-somebody-7zzzzzzzzzzzzzzzzzzzzzzzzz", &format!("ty-{ours}-mine")] {
            foreign.push(by_hand(&world, vendor, name));
        }
    }
    let begun = Instant::now();
    until(GONE_WITHIN, "the orphans to be gone", || {
        let alive = world.alive();
        orphans.iter().all(|orphan| !alive.iter().any(|one| one.id == orphan.id)).then_some(())
    });
    assert!(begun.elapsed() <= GONE_WITHIN);
    assert_eq!(world.alive().len(), foreign.len(), "nothing else was touched");
    until(GONE_WITHIN, "nothing to be shown as unclaimed", || {
        let told = yard.http.get("/api/training/providers").ok(200);
        let none = |provider: &Value| provider["unclaimed"] == json!([]);
        list(&told["providers"]).iter().all(none).then_some(())
    });
    for machine in foreign {
        world.explain(machine.vendor, &machine.id).expect("it is there");
    }
}

#[test]
fn fifty_submits_of_one_job_at_once_make_one_machine() {
    let yard = Yard::new();
    yard.create("job", &sh("printf x > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\""));
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let http = yard.http.clone();
            std::thread::spawn(move || {
                http.post(&format!("{JOBS}/job/submit"), &json!({"provider": "vastai"})).status
            })
        })
        .collect();
    for one in asked {
        assert_eq!(one.join().expect("an answer"), 200);
    }
    yard.await_state("job", "completed");
    yard.await_gone("job");
    assert_eq!(yard.world().machines().len(), 1, "one machine on the invoice");
    yard.assert_empty();
}

#[test]
fn three_runs_go_on_and_come_home_after_the_database_was_deleted_in_the_middle() {
    let mut yard = Yard::new();
    let go = yard.server.directory().join("go");
    let script = format!(
        "echo '{{\"step\": 1, \"loss\": 2.5}}' >> \"$TRAINYARD_METRICS_FILE\"; echo begun; \
         while [ ! -e '{}' ]; do sleep 0.1; done; echo done; \
         printf \"adapter of $TRAINYARD_JOB_ID\" > \"$TRAINYARD_OUTPUT_DIR/adapter_model.safetensors\"",
        go.display()
    );
    for (_, provider) in VENDORS {
        yard.create(provider, &sh(&script));
        yard.submit(provider, provider).ok(200);
        yard.await_state(provider, "running");
    }
    yard.server.crash();
    for file in ["trainyard.db", "trainyard.db-wal", "trainyard.db-shm"] {
        let _ = std::fs::remove_file(yard.server.data().join(file));
    }
    // A server over the new database only reports.
    yard.start_again();
    until(GONE_WITHIN, "the machines to be reported", || {
        let providers = yard.http.get("/api/training/providers").ok(200);
        let told = |provider: &Value| {
            list(&provider["unclaimed"])
                .iter()
                .any(|text| text.as_str().is_some_and(|t| t.contains("recover")))
        };
        (list(&providers["providers"]).iter().filter(|provider| told(provider)).count() == 3).then_some(())
    });
    assert_eq!(yard.world().alive().len(), 3);
    yard.server.end();

    let told: Value = serde_json::from_str(&yard.server.run(&["recover", "--json"])).expect("JSON");
    assert_eq!((list(&told["adopted"]).len(), list(&told["left"]).len()), (3, 0), "{told}");
    assert_eq!(told["only_reports"], false, "{told}");
    yard.start_again();
    std::fs::write(&go, "").expect("a file");
    for (_, provider) in VENDORS {
        yard.await_state(provider, "completed");
        let artifact = yard.poke(provider, "/download-artifact").ok(200);
        let bytes = std::fs::read(artifact["path"].as_str().expect("`path`")).expect("it is there");
        assert_eq!(bytes, format!("adapter of {provider}").as_bytes());
        assert!(yard.log(provider).contains("begun\n"), "its log from the start");
        assert_eq!(yard.status(provider)["current_metrics"]["loss"], 2.5);
        yard.await_gone(provider);
    }
    assert_eq!(yard.world().machines().len(), 3, "nothing was rented twice");
    yard.assert_empty();
}
