//! The plan as a table: a job, a wish, what was seen, and the one next step.

use chrono::{DateTime, TimeDelta};
use trainyard_connector::SelfRemovalProof;
use trainyard_domain::{AttemptNumber, Command, Diagnosis, Fact, JobSpec, Rental};

use super::*;
use crate::money::{Payer, Purse};

fn now() -> Timestamp {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

fn bounds() -> Bounds {
    Bounds {
        attempts_max: None,
        look_every: Duration::from_secs(2),
        boot_poll: Duration::from_millis(2),
        cancel_grace_max: Duration::from_secs(20),
        money: None,
    }
}

fn created() -> Job {
    Job::new("job".parse().unwrap(), JobSpec::new("trainyard-tiny"), None, now())
}

fn with(mut job: Job, command: Command) -> Job {
    job.command(&command).unwrap();
    job
}

fn submitted() -> Job {
    with(created(), Command::Submit("local".parse().unwrap()))
}

fn ordered(mut job: Job) -> Job {
    let n = job.attempts().len() + 1;
    job.intend(format!("ty-abcdefgh-{n:026}").parse().unwrap(), "local".parse().unwrap(), now()).unwrap();
    job
}

fn rental(job: &Job) -> Rental {
    Rental { attempt: job.attempt().unwrap().number, machine: "local-1".parse().unwrap(), can_pause: true }
}

fn apply(mut job: Job, fact: Fact) -> Job {
    job.apply(&fact, now()).unwrap();
    job
}

fn booting() -> Job {
    let job = ordered(submitted());
    let rental = rental(&job);
    apply(job, Fact::Placed(rental))
}

fn running() -> Job {
    apply(booting(), Fact::Started { attempt: AttemptNumber::FIRST, at: now() })
}

fn exit(code: i32) -> Exit {
    Exit::with_code(code, now())
}

fn says(training: TrainingState, told: bool) -> Seen {
    let attempt = match training {
        TrainingState::Idle => None,
        _ => Some(("job".parse().unwrap(), AttemptNumber::FIRST)),
    };
    Seen::Says {
        state: WorkloadState {
            boot_id: "b".to_owned(),
            attempt,
            training,
            last_event: 0,
            log_bytes: 0,
            self_removal: SelfRemovalProof::None,
        },
        told,
    }
}

fn trains(paused: bool) -> Seen {
    says(TrainingState::Running { since: now(), paused }, false)
}

fn exited(code: i32, told: bool) -> Seen {
    says(TrainingState::Exited { started_at: Some(now()), exit: exit(code) }, told)
}

const LOST: Seen = Seen::Silent { lost: true, ever_answered: true };

/// The step's word, with what matters of it.
fn check(job: &Job, seen: &Seen) -> String {
    check_at(job, seen, now())
}

fn check_at(job: &Job, seen: &Seen, at: Timestamp) -> String {
    shown(plan(job, seen, at, &bounds()))
}

fn shown(step: Step) -> String {
    match step {
        Step::Rest => "rest".to_owned(),
        Step::Wait(delay) => format!("wait {delay:?}"),
        Step::Order => "order".to_owned(),
        Step::Settle => "settle".to_owned(),
        Step::Bring(_) => "bring".to_owned(),
        Step::Prepare(_) => "prepare".to_owned(),
        Step::NoteStarted { .. } => "note started".to_owned(),
        Step::Stop { grace, .. } => format!("stop within {grace:?}"),
        Step::Pause(_) => "pause".to_owned(),
        Step::Resume(_) => "resume".to_owned(),
        Step::Park(rental) => format!("park{}", if rental.is_some() { " and give back" } else { "" }),
        Step::Unpark => "unpark".to_owned(),
        Step::Collect { .. } => "collect".to_owned(),
        Step::Replace { reason, .. } => format!("replace: {}", reason.code),
        Step::Expire(StopCause::Budget) => "expire (budget)".to_owned(),
        Step::Expire(_) => "expire".to_owned(),
        Step::Finish(Outcome::Stopped { exit }) => format!("stopped, exit {:?}", exit.map(|e| e.code)),
        Step::Finish(Outcome::Failed { reason, exit }) => {
            format!("failed: {}, exit {:?}", reason.code, exit.map(|e| e.code))
        }
        Step::GiveBack(_) => "give back".to_owned(),
        Step::Hold { left, .. } => format!("hold {left:?}"),
    }
}

#[test]
fn before_a_machine() {
    assert_eq!(check(&created(), &Seen::Nothing), "rest");
    assert_eq!(check(&submitted(), &Seen::Nothing), "order");
    assert_eq!(check(&with(submitted(), Command::Cancel), &Seen::Nothing), "stopped, exit None");
    assert_eq!(check(&ordered(submitted()), &Seen::Nothing), "settle");
    let asked = apply(ordered(submitted()), Fact::Admitted);
    assert_eq!(check(&asked, &Seen::Nothing), "settle");
    assert_eq!(
        check(&with(asked, Command::Cancel), &Seen::Nothing),
        "stopped, exit None",
        "what became of the order is found out afterwards"
    );
}

fn refused(job: &Job, code: &str, round_over: bool) -> Job {
    let mut job = job.clone();
    let attempt = job.attempt().unwrap().number;
    job.set_attempt_end(attempt, Reason::new(code, "no"));
    apply(job, Fact::OrderRefused { attempt, round_over })
}

#[test]
fn a_refused_order_is_followed_by_another_until_the_round_is_over() {
    let asked = apply(ordered(submitted()), Fact::Admitted);
    assert_eq!(check(&refused(&asked, "no_capacity", false), &Seen::Nothing), "order");
    let over = refused(&asked, "no_capacity", true);
    assert_eq!(check(&over, &Seen::Nothing), "failed: no_capacity, exit None");
    let unanswered = ordered(submitted());
    assert_eq!(check(&refused(&unanswered, "no_capacity", false), &Seen::Nothing), "order");
    assert_eq!(
        check(&refused(&unanswered, "no_capacity", true), &Seen::Nothing),
        "rest",
        "it is created again"
    );
    let cancelled = with(refused(&unanswered, "no_capacity", false), Command::Cancel);
    assert_eq!(check(&cancelled, &Seen::Nothing), "stopped, exit None", "no other offer is tried");
}

#[test]
fn a_machine_that_cannot_come_up_is_replaced_where_another_could_help() {
    let broken = |elsewhere| Seen::Broken { what: "the image cannot be pulled".to_owned(), elsewhere };
    assert_eq!(check(&booting(), &broken(true)), "replace: boot_failed");
    assert_eq!(check(&booting(), &broken(false)), "failed: boot_failed, exit None");
    assert_eq!(check(&running(), &broken(false)), "replace: machine_lost");
    assert_eq!(check(&booting(), &Seen::TooDear("dear".to_owned())), "replace: price_changed");
    assert_eq!(check(&with(booting(), Command::Cancel), &broken(true)), "stopped, exit None");
}

#[test]
fn a_pause_with_a_checkpoint_stops_the_training_and_needs_no_machine() {
    let parking = with(running(), Command::Park);
    let grace = format!("stop within {:?}", Duration::from_secs(parking.limits().grace_period_s));
    let ended = |change: &dyn Fn(&mut Exit)| {
        let mut exit = Exit { asked: true, ..exit(143) };
        change(&mut exit);
        says(TrainingState::Exited { started_at: Some(now()), exit }, true)
    };
    for (seen, expected) in [
        (trains(false), grace.as_str()),
        (says(TrainingState::Preparing, false), &grace),
        (exited(143, false), "wait 2ms"),
        (ended(&|_| ()), "park and give back"),
        (ended(&|exit| exit.note = Some("killed after the grace period".to_owned())), "park and give back"),
        (
            ended(&|exit| exit.note = Some("stopped by the agent at the deadline".to_owned())),
            "failed: deadline_exceeded, exit Some(143)",
        ),
        // It ended by itself before it heard of the pause.
        (exited(0, true), "collect"),
        (exited(1, true), "failed: training_failed, exit Some(1)"),
        (LOST, "replace: agent_lost"),
    ] {
        assert_eq!(check(&parking, &seen), expected, "{seen:?}");
    }
    let lost = apply(parking.clone(), Fact::Lost { attempt: AttemptNumber::FIRST });
    assert_eq!(check(&lost, &Seen::Nothing), "park");
    for parked in [apply(parking, Fact::Parked), apply(lost, Fact::Parked)] {
        assert_eq!(check(&parked, &Seen::Nothing), "rest");
        let wakes = with(parked.clone(), Command::Resume);
        assert_eq!(check(&wakes, &Seen::Nothing), "unpark");
        assert_eq!(check(&apply(wakes, Fact::Resumed), &Seen::Nothing), "order");
        assert_eq!(check(&with(parked, Command::Cancel), &Seen::Nothing), "stopped, exit None");
    }
}

#[test]
fn the_machine_of_a_failed_training_is_kept_as_long_as_asked() {
    let failed = |code: i32, asked: bool| {
        let mut job = running();
        let limits = trainyard_domain::Limits { hold_on_failure_s: 60, ..job.limits().clone() };
        job.set_limits(limits);
        job.set_exit(AttemptNumber::FIRST, Exit { asked, ..exit(code) });
        apply(job, Fact::Failed { at: now() })
    };
    assert_eq!(check(&failed(1, false), &Seen::Nothing), "hold 60s");
    assert_eq!(check_at(&failed(1, false), &Seen::Nothing, now() + TimeDelta::seconds(60)), "give back");
    assert_eq!(check(&failed(143, true), &Seen::Nothing), "give back", "it did not fail by itself");
    let mut lowered = failed(1, false);
    lowered.set_limits(trainyard_domain::Limits::default());
    assert_eq!(check(&lowered, &Seen::Nothing), "give back", "lowering the limit gives it back at once");
}

#[test]
fn a_warm_machine_is_kept_until_its_time_or_its_money_is_over() {
    let mut ended = apply(running(), Fact::Completed { at: now() });
    ended.keep_warm_until(now() + TimeDelta::seconds(60));
    assert_eq!(check(&ended, &Seen::Nothing), "hold 60s");
    assert_eq!(check_at(&ended, &Seen::Nothing, now() + TimeDelta::seconds(60)), "give back");
    let passed = Fact::PassedOn { attempt: AttemptNumber::FIRST, to: "next".parse().unwrap() };
    assert_eq!(check(&apply(ended.clone(), passed), &Seen::Nothing), "rest", "another job has it");
    let money = |left: &str| {
        let purse = Purse {
            of: Payer::Job("1".parse().unwrap()),
            spent: "0".parse().unwrap(),
            left: left.parse().unwrap(),
            price_per_hour: "3.6".parse().unwrap(),
            margin: Duration::ZERO,
        };
        Bounds { money: Some(purse), ..bounds() }
    };
    let step = |left| plan(&ended, &Seen::Nothing, now(), &money(left));
    assert!(matches!(step("0.02"), Step::Hold { left, .. } if left == Duration::from_secs(20)));
    assert!(matches!(step("0"), Step::GiveBack(_)));
}

#[test]
fn while_it_boots() {
    let job = booting();
    assert_eq!(check(&job, &Seen::Silent { lost: false, ever_answered: false }), "wait 2ms");
    assert_eq!(check(&job, &Seen::Silent { lost: true, ever_answered: false }), "replace: boot_failed");
    assert_eq!(check(&job, &Seen::MachineGone), "replace: machine_lost");
    assert_eq!(check(&job, &says(TrainingState::Idle, true)), "bring");
    assert_eq!(check(&job, &says(TrainingState::Preparing, false)), "prepare");
    assert_eq!(check(&job, &trains(false)), "note started");
    assert_eq!(check(&job, &exited(0, false)), "note started", "it ran, however short");
    let cancelled = with(job, Command::Cancel);
    assert_eq!(check(&cancelled, &says(TrainingState::Idle, true)), "stopped, exit None");
    assert_eq!(check(&cancelled, &says(TrainingState::Preparing, false)), "stop within 20s");
    assert_eq!(check(&cancelled, &Seen::MachineGone), "stopped, exit None");
}

#[test]
fn while_it_trains() {
    let job = running();
    assert_eq!(check(&job, &trains(false)), "wait 2s");
    assert_eq!(check(&job, &trains(true)), "resume", "paused by nobody's wish");
    assert_eq!(check(&job, &Seen::Silent { lost: false, ever_answered: true }), "wait 1s");
    assert_eq!(check(&job, &LOST), "replace: agent_lost");
    assert_eq!(check(&job, &Seen::Restarted), "replace: agent_restarted");
    assert_eq!(check(&job, &says(TrainingState::Idle, true)), "replace: agent_restarted");
    assert_eq!(check(&job, &exited(0, false)), "wait 2ms", "first everything it told is stored");
    assert_eq!(check(&job, &exited(0, true)), "collect");
    assert_eq!(check(&job, &exited(1, true)), "failed: training_failed, exit Some(1)");
    let known =
        Diagnosis { code: "no_space".to_owned(), cause: "full".to_owned(), remedy: "more".to_owned() };
    let known = Exit { diagnosis: Some(Box::new(known)), ..exit(1) };
    let known = TrainingState::Exited { started_at: Some(now()), exit: known };
    let step = plan(&job, &says(known, true), now(), &bounds());
    let Step::Finish(Outcome::Failed { reason, .. }) = step else { panic!("{step:?}") };
    assert_eq!(reason.message, "the training ended with exit code 1: full");
    assert_eq!(reason.suggestion.as_deref(), Some("more"));
    assert_eq!(check(&with(job.clone(), Command::Pause), &trains(false)), "pause");
    let late = now() + TimeDelta::seconds(14_400);
    assert_eq!(check_at(&job, &trains(false), late), "expire");
    assert_eq!(check_at(&job, &trains(false), late - TimeDelta::seconds(1)), "wait 1s");
}

#[test]
fn after_a_request_to_stop_no_exit_code_means_completed() {
    let job = with(running(), Command::Cancel);
    assert_eq!(check(&job, &trains(false)), "stop within 20s");
    assert_eq!(check(&job, &exited(0, true)), "stopped, exit Some(0)");
    assert_eq!(check(&job, &LOST), "stopped, exit None");
    let mut over = running();
    over.stop_for(StopCause::Deadline);
    assert_eq!(check(&over, &trains(false)), "stop within 120s");
    assert_eq!(check(&over, &exited(0, true)), "failed: deadline_exceeded, exit Some(0)");
    let by_agent = |note: &str| {
        let exit = Exit { asked: true, note: Some(note.to_owned()), ..exit(143) };
        says(TrainingState::Exited { started_at: Some(now()), exit }, true)
    };
    let step =
        check(&running(), &by_agent("stopped by the agent at the deadline; killed after the grace period"));
    assert_eq!(step, "failed: deadline_exceeded, exit Some(143)");
    let step = check(&running(), &by_agent("stopped by the agent because the orchestrator was silent"));
    assert_eq!(step, "failed: stopped_by_agent, exit Some(143)");
}

#[test]
fn no_machine_outlives_its_money() {
    let with_money = |left: &str| {
        let purse = Purse {
            of: crate::money::Payer::Job("10".parse().unwrap()),
            spent: "9".parse().unwrap(),
            left: left.parse().unwrap(),
            price_per_hour: "3.60".parse().unwrap(),
            margin: Duration::from_secs(5),
        };
        Bounds { money: Some(purse), ..bounds() }
    };
    let step = |job: &Job, seen: &Seen, left: &str| shown(plan(job, seen, now(), &with_money(left)));
    // A tenth of a cent pays for a second; the grace is 120 s.
    assert_eq!(step(&running(), &trains(false), "1"), "wait 2s");
    assert_eq!(step(&running(), &trains(false), "0.1265"), "wait 1s", "it looks again in time");
    assert_eq!(step(&running(), &trains(false), "0.125"), "expire (budget)");
    assert_eq!(step(&running(), &LOST, "0.125"), "expire (budget)", "no other attempt can be paid");
    assert_eq!(step(&booting(), &Seen::Silent { lost: false, ever_answered: false }, "0.1"), "wait 2ms");
    assert_eq!(
        step(&booting(), &Seen::Silent { lost: false, ever_answered: false }, "0.005"),
        "expire (budget)"
    );
    assert_eq!(step(&running(), &exited(0, true), "0.1"), "collect", "it needs no grace any more");
    assert_eq!(step(&running(), &exited(0, true), "0.005"), "expire (budget)");
    let mut over = running();
    over.stop_for(StopCause::Budget);
    assert_eq!(step(&over, &trains(false), "0"), "stop within 120s");
    assert_eq!(step(&over, &exited(0, true), "0"), "failed: budget_exceeded, exit Some(0)");
    let mut failed = running();
    failed.set_limits(trainyard_domain::Limits { hold_on_failure_s: 60, ..failed.limits().clone() });
    failed.set_exit(AttemptNumber::FIRST, exit(1));
    let failed = apply(failed, Fact::Failed { at: now() });
    assert_eq!(step(&failed, &Seen::Nothing, "0.025"), "hold 20s", "what it is kept for is paid too");
    assert_eq!(step(&failed, &Seen::Nothing, "0.005"), "give back");
    let by_agent = Exit {
        asked: true,
        note: Some("stopped by the agent at the end of the budget".to_owned()),
        ..exit(143)
    };
    let by_agent = says(TrainingState::Exited { started_at: Some(now()), exit: by_agent }, true);
    assert_eq!(step(&running(), &by_agent, "1"), "failed: budget_exceeded, exit Some(143)");
}

#[test]
fn paused() {
    let job = apply(with(running(), Command::Pause), Fact::Paused);
    assert_eq!(check(&job, &trains(true)), "wait 2s");
    assert_eq!(check(&with(job.clone(), Command::Resume), &trains(true)), "resume");
    assert_eq!(check(&with(job.clone(), Command::Cancel), &trains(true)), "stop within 20s");
    assert_eq!(check(&job, &LOST), "replace: agent_lost");
}

#[test]
fn a_lost_machine_is_replaced_until_the_attempts_are_used_up() {
    let mut job = running();
    for n in 1..=3 {
        job.set_attempt_end(AttemptNumber::from(n), Reason::new("agent_lost", "silent"));
        job = apply(job, Fact::Lost { attempt: AttemptNumber::from(n) });
        if n < 3 {
            assert_eq!(check(&job, &Seen::Nothing), "order");
            job = ordered(job);
            let rental = rental(&job);
            job = apply(job, Fact::Placed(rental));
        }
    }
    assert_eq!(check(&job, &Seen::Nothing), "failed: agent_lost, exit None");
    assert_eq!(check(&with(job, Command::Cancel), &Seen::Nothing), "stopped, exit None");
}

#[test]
fn what_an_ended_job_holds_is_given_back() {
    let ended = apply(running(), Fact::Completed { at: now() });
    assert_eq!(check(&ended, &Seen::Nothing), "give back");
    assert_eq!(
        check(&apply(ended, Fact::Returned { attempt: AttemptNumber::FIRST }), &Seen::Nothing),
        "rest"
    );
}
