//! What an agent costs. The bounds are far above what is measured: they catch a mistake, not a slow day.

use std::time::{Duration, Instant};

use trainyard_connector::{AgentEventBody, Workload};

use crate::rig::{Rig, command};

trainyard_testkit::program_tests![starting_an_agent_and_a_no_op_are_cheap];

async fn starting_an_agent_and_a_no_op_are_cheap() {
    let (mut answers, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let begin = Instant::now();
        let mut rig = Rig::new();
        rig.client.greet().await.unwrap();
        answers.push(begin.elapsed());
        let begin = Instant::now();
        rig.client.start(&command(&["true"])).await.unwrap();
        let mut after = 0;
        'events: loop {
            for event in rig.client.events(after, Duration::from_secs(10)).await.unwrap().events {
                after = event.n;
                if matches!(event.body, AgentEventBody::Exited(_)) {
                    break 'events;
                }
            }
        }
        rig.client.manifest(Duration::from_secs(5)).await.unwrap().unwrap();
        rig.client.release().await.unwrap();
        rig.child.wait().unwrap();
        runs.push(begin.elapsed());
    }
    answers.sort();
    runs.sort();
    println!("spawn → greeting: median {:?}, worst {:?}", answers[10], answers[19]);
    println!("start → exit → manifest → released → gone: median {:?}, worst {:?}", runs[10], runs[19]);
    assert!(answers[10] < Duration::from_millis(500) && runs[10] < Duration::from_secs(1));
}
