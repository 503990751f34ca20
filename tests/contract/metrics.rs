//! `GET …/metrics`: the series, from where, which names, how many points.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::yard::{Yard, endless, keys, list, moment, sh};

fn steps(answer: &Value) -> Vec<u64> {
    list(&answer["points"]).iter().filter_map(|point| point["step"].as_u64()).collect()
}

#[test]
fn the_series_is_whole_and_in_order() {
    let yard = Yard::new();
    let script = "i=1; while [ $i -le 300 ]; do echo \"{\\\"step\\\":$i,\\\"loss\\\":$((1000 - i)),\\\"acc\\\":$i}\"; \
                  i=$((i+1)); done >> \"$TRAINYARD_METRICS_FILE\"";
    yard.complete("job_1", &sh(script));
    let all = yard.get("job_1", "/metrics?names=loss,acc").ok(200);
    assert_eq!(keys(&all), ["job_id", "more", "names", "points", "total"]);
    assert_eq!(steps(&all), (1..=300).collect::<Vec<u64>>(), "no step is missing or doubled");
    assert_eq!((&all["total"], &all["more"]), (&json!(300), &json!(false)));
    for (point, step) in list(&all["points"]).iter().zip(1..) {
        assert_eq!((point["loss"].as_i64(), point["acc"].as_i64()), (Some(1000 - step), Some(step)));
        moment(&point["ts"]);
    }
    assert_eq!(steps(&yard.get("job_1", "/metrics?after=295").ok(200)), [296, 297, 298, 299, 300]);
    assert!(steps(&yard.get("job_1", "/metrics?after=300").ok(200)).is_empty());
    let only = yard.get("job_1", "/metrics?names=acc&after=299").ok(200);
    assert_eq!((only["points"][0]["acc"].as_f64(), &only["points"][0]["loss"]), (Some(300.0), &Value::Null));
    assert_eq!(only["names"], json!(["acc"]));
    assert!(steps(&yard.get("job_1", "/metrics?names=none").ok(200)).is_empty());
}

#[test]
fn thinning_out_keeps_the_extremes() {
    let yard = Yard::new();
    let script = "i=1; while [ $i -le 400 ]; do l=5; [ $i = 123 ] && l=99; [ $i = 321 ] && l=0; \
                  echo \"{\\\"step\\\":$i,\\\"loss\\\":$l}\"; i=$((i+1)); done >> \"$TRAINYARD_METRICS_FILE\"";
    yard.complete("job_1", &sh(script));
    let few = yard.get("job_1", "/metrics?names=loss&points=20").ok(200);
    let kept: BTreeSet<u64> = steps(&few).into_iter().collect();
    assert!(kept.len() <= 20 && kept.len() >= 5, "{kept:?}");
    assert!([1, 123, 321, 400].iter().all(|step| kept.contains(step)), "ends and extremes: {kept:?}");
    assert_eq!(few["total"], 400);
    for wrong in ["points=0", "points=x", "after=-1", "after=x"] {
        yard.get("job_1", &format!("/metrics?{wrong}")).error(400, "invalid_parameter");
    }
    yard.get("nobody", "/metrics").error(404, "job_not_found");
}

#[test]
fn numbers_that_are_not_finite_are_words() {
    let yard = Yard::new();
    let script =
        "echo '{\"step\":1,\"loss\":NaN,\"a\":Infinity,\"b\":-Infinity}' >> \"$TRAINYARD_METRICS_FILE\"";
    let completed = yard.complete("job_1", &sh(script));
    let last = &completed["current_metrics"];
    assert_eq!(
        (&last["loss"], &last["a"], &last["b"]),
        (&json!("NaN"), &json!("Infinity"), &json!("-Infinity"))
    );
}

#[test]
fn a_program_that_knows_nothing_of_this_is_understood() {
    let yard = Yard::new();
    let script = "echo \"{'loss': 2.5, 'learning_rate': 0.001, 'epoch': 0.5}\"; \
                  echo \"{'loss': '1.25', 'grad_norm': '0.5', 'learning_rate': '0.0005', 'epoch': '1.0'}\"";
    yard.complete("printed", &sh(script));
    let points = yard.get("printed", "/metrics?names=loss").ok(200);
    let losses: Vec<Option<f64>> =
        list(&points["points"]).iter().map(|point| point["loss"].as_f64()).collect();
    assert_eq!(losses, [Some(2.5), Some(1.25)]);
    let state =
        r#"{"global_step":2,"max_steps":4,"log_history":[{"step":1,"loss":3.0},{"step":2,"loss":2.0}]}"#;
    let script = format!(
        "mkdir -p \"$TRAINYARD_OUTPUT_DIR/checkpoint-2\"; \
         echo '{state}' > \"$TRAINYARD_OUTPUT_DIR/checkpoint-2/trainer_state.json\"; sleep 1"
    );
    yard.complete("state", &sh(&script));
    assert_eq!(steps(&yard.get("state", "/metrics?names=loss").ok(200)), [1, 2]);
}

#[test]
fn the_machine_tells_of_itself() {
    let yard = Yard::new();
    yard.run("job_1", &endless());
    yard.await_status("job_1", "the machine's metrics", |_| {
        let names = yard.get("job_1", "/metrics").ok(200)["names"].clone();
        ["system/cpu", "system/ram_gb", "system/disk_free_gb"]
            .iter()
            .all(|name| list(&names).contains(&json!(name)))
    });
}
