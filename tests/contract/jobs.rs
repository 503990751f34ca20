//! The list: filters, pages, order. One job: its `ETag`.

use serde_json::{Value, json};

use crate::yard::{JOBS, Yard, endless, keys, list, moment, quick};

fn ids(answer: &Value) -> Vec<&str> {
    list(&answer["jobs"]).iter().map(|job| job["job_id"].as_str().expect("an id")).collect()
}

#[test]
fn the_list_is_as_documented() {
    let yard = Yard::new();
    let answer = yard.http.get(JOBS).ok(200);
    assert_eq!(answer, json!({"jobs": [], "total": 0, "next_cursor": null}));
    yard.complete("job_123", &quick());
    yard.run("job_124", &endless());
    let answer = yard.http.get(JOBS).ok(200);
    assert_eq!(keys(&answer), ["jobs", "next_cursor", "total"]);
    assert_eq!((ids(&answer), &answer["total"]), (vec!["job_124", "job_123"], &json!(2)));
    let (running, completed) = (&answer["jobs"][0], &answer["jobs"][1]);
    for name in ["job_id", "state", "provider", "started_at", "completed_at"] {
        assert!(keys(running).contains(&name), "`{name}` of {running}");
    }
    assert_eq!((&running["state"], &running["provider"]), (&json!("running"), &json!("local")));
    moment(&running["started_at"]);
    assert!(running["completed_at"].is_null());
    assert_eq!(completed["state"], "completed");
    moment(&completed["completed_at"]);
}

#[test]
fn filters_leave_what_matches_and_total_counts_it() {
    let yard = Yard::new();
    let labelled = |team: &str, kind: &str| {
        let mut spec = quick();
        spec["labels"] = json!({"team": team, "kind": kind});
        spec
    };
    yard.create("a", &labelled("search", "x"));
    yard.create("b", &labelled("search", "y"));
    yard.create("c", &labelled("ads", "x"));
    yard.complete("d", &labelled("ads", "a:b"));
    let found = |query: &str| {
        let answer = yard.http.get(&format!("{JOBS}{query}")).ok(200);
        assert_eq!(answer["total"], list(&answer["jobs"]).len(), "{answer}");
        ids(&answer).join("")
    };
    let cases = [
        ("", "dcba"),
        ("?state=created", "cba"),
        ("?state=completed", "d"),
        ("?state=paused", ""),
        ("?provider=local", "d"),
        ("?provider=runpod", ""),
        ("?provider=local&state=created", ""),
        ("?label=team:search", "ba"),
        ("?label=team:search&label=kind:y", "b"),
        ("?label=kind:x&state=created", "ca"),
        ("?label=kind:a:b", "d"),
        ("?label=team%3Aads&provider=local", "d"),
        ("?label=team:none", ""),
    ];
    for (query, expected) in cases {
        assert_eq!(found(query), expected, "{query}");
    }
}

#[test]
fn pages_follow_each_other_whatever_is_created_meanwhile() {
    let yard = Yard::new();
    for i in 0..7 {
        yard.create(&format!("j{i}"), &quick());
    }
    let first = yard.http.get(&format!("{JOBS}?limit=3")).ok(200);
    assert_eq!((ids(&first), &first["total"]), (vec!["j6", "j5", "j4"], &json!(7)));
    yard.create("later", &quick());
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = yard.http.get(&format!("{JOBS}?limit=3&cursor={cursor}")).ok(200);
    assert_eq!(ids(&second), ["j3", "j2", "j1"]);
    let cursor = second["next_cursor"].as_str().expect("a cursor");
    let third = yard.http.get(&format!("{JOBS}?limit=3&cursor={cursor}")).ok(200);
    assert_eq!((ids(&third), &third["next_cursor"]), (vec!["j0"], &Value::Null));
    assert_eq!(third["total"], 8);
    let exact = yard.http.get(&format!("{JOBS}?limit=8")).ok(200);
    assert_eq!((list(&exact["jobs"]).len(), &exact["next_cursor"]), (8, &Value::Null));
    assert_eq!(list(&yard.http.get(&format!("{JOBS}?limit=1000")).ok(200)["jobs"]).len(), 8);
}

#[test]
fn bad_parameters_are_named() {
    let yard = Yard::new();
    let wrong = [
        "limit=0",
        "limit=1001",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1&limit=2",
        "cursor=abc",
        "cursor=",
        "state=done",
        "state=",
        "provider=A/B",
        "label=team",
        "label=:x",
    ];
    for query in wrong {
        let error = yard.http.get(&format!("{JOBS}?{query}")).error(400, "invalid_parameter");
        let name = query.split('=').next().unwrap_or_default();
        assert!(error["error"].as_str().is_some_and(|text| text.contains(name)), "{query}: {error}");
        assert!(error["job_id"].is_null());
    }
    let error = yard.http.get(&format!("{JOBS}?page=2")).error(400, "unknown_parameter");
    assert!(error["error"].as_str().is_some_and(|text| text.contains("page")), "{error}");
    yard.create("job_1", &quick());
    for path in ["", "/status", "/events", "/logs", "/metrics", "/notifications"] {
        yard.get("job_1", &format!("{path}?colour=red")).error(400, "unknown_parameter");
    }
    yard.http.get("/api/training/providers?x=1").error(400, "unknown_parameter");
}

#[test]
fn an_unchanged_job_is_not_sent_again() {
    let yard = Yard::new();
    yard.create("job_1", &quick());
    let ask = |tag: &str| yard.http.call("GET", &format!("{JOBS}/job_1")).header("If-None-Match", tag).send();
    let tag = yard.get("job_1", "").header("etag").expect("an ETag").to_owned();
    let again = ask(&tag);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, Some(tag.as_str())));
    assert_eq!(ask(&format!("\"other\", {tag}")).status, 304);
    ask("\"other\"").ok(200);
    let body = json!({"labels": {"a": "b"}});
    yard.http.call("PATCH", &format!("{JOBS}/job_1")).json(&body).send().ok(200);
    let changed = ask(&tag);
    changed.ok(200);
    assert_ne!(changed.header("etag"), Some(tag.as_str()));
}
