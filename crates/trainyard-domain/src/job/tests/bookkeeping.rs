//! What is noted beside the state, and which stored jobs are not loaded.

use super::{asked, at, job, order, rental, restored};
use crate::{
    AttemptNumber, Claim, Command, CorruptJob, Fact, Job, JobBody, JobState, Phase, StateName, StopCause,
    Wish,
};

fn submitted() -> Job {
    let mut job = job();
    job.command(&Command::Submit("here".parse().expect("a name"))).expect("a new job can be submitted");
    job
}

fn ordered() -> Job {
    let mut job = submitted();
    job.intend(order(1), "here".parse().expect("a name"), at(1)).expect("the first order");
    job
}

const REFUSED: Fact = Fact::OrderRefused { attempt: AttemptNumber::FIRST, round_over: true };

fn apply(job: &mut Job, seconds: i64, fact: Fact) {
    job.apply(&fact, at(seconds)).unwrap_or_else(|error| panic!("{fact:?} at {seconds}: {error}"));
}

/// Running since second 10 on a machine that can pause.
fn running() -> Job {
    let mut job = ordered();
    apply(&mut job, 5, Fact::Placed(rental(1, true)));
    apply(&mut job, 10, Fact::Started { attempt: AttemptNumber::FIRST, at: at(10) });
    job
}

#[test]
fn pauses_are_left_out_of_what_it_ran() {
    let mut job = running();
    assert_eq!(submitted().ran_for_s(at(50)), 0);
    assert_eq!(job.ran_for_s(at(5)), 0, "a clock that went back");
    assert_eq!(job.ran_for_s(at(30)), 20);
    apply(&mut job, 30, Fact::Paused);
    assert_eq!(job.ran_for_s(at(100)), 20, "it stands still");
    apply(&mut job, 100, Fact::Resumed);
    assert_eq!(job.ran_for_s(at(110)), 30);
    apply(&mut job, 110, Fact::Paused);
    apply(&mut job, 120, Fact::Resumed);
    assert_eq!(job.ran_for_s(at(125)), 35, "two pauses add up");
    apply(&mut job, 125, Fact::Paused);
    apply(&mut job, 200, Fact::Stopped { at: at(200) });
    assert_eq!(job.ran_for_s(at(999)), 35, "it ended in a pause");
}

#[test]
fn a_lost_machine_ends_the_pause_and_not_the_count() {
    let mut job = running();
    apply(&mut job, 20, Fact::Paused);
    apply(&mut job, 50, Fact::Lost { attempt: AttemptNumber::FIRST });
    assert_eq!(job.ran_for_s(at(60)), 20);
    assert_eq!(job.state().name(), StateName::Running);
    assert_eq!(job.attempts()[0].ended_at, Some(at(50)));
    job.intend(order(2), "here".parse().expect("a name"), at(60)).expect("the next order");
    apply(&mut job, 70, Fact::Placed(rental(2, true)));
    apply(&mut job, 80, Fact::Started { attempt: AttemptNumber::from(2), at: at(80) });
    assert_eq!(job.body().started_at, Some(at(10)), "the first start stays");
    assert_eq!(job.attempts()[1].started_at, Some(at(80)));
    assert_eq!(job.ran_for_s(at(80)), 40);
}

#[test]
fn a_start_told_twice_is_the_first_start() {
    let mut job = running();
    apply(&mut job, 20, Fact::Started { attempt: AttemptNumber::FIRST, at: at(19) });
    assert_eq!(job.attempts()[0].started_at, Some(at(10)));
}

#[test]
fn a_refused_submission_leaves_the_attempt_and_can_be_made_elsewhere() {
    let mut job = ordered();
    apply(&mut job, 2, REFUSED);
    assert_eq!((job.wish(), job.state().name(), job.attempts().len()), (Wish::Rest, StateName::Created, 1));
    assert!(!job.attempts()[0].was_rented());
    assert_eq!(job.command(&Command::Submit("there".parse().expect("a name"))), Ok(true));
    assert_eq!(job.provider().map(|name| name.as_str()), Some("there"));
}

#[test]
fn a_submission_stands_while_other_offers_are_tried() {
    let mut job = ordered();
    apply(&mut job, 2, Fact::OrderRefused { attempt: AttemptNumber::FIRST, round_over: false });
    assert_eq!((job.wish(), job.state().name(), job.round().count()), (Wish::Run, StateName::Created, 1));
    job.intend(order(2), "there".parse().expect("a name"), at(3)).expect_err("it was submitted to `here`");
    job.intend(order(2), "here".parse().expect("a name"), at(3)).expect("the next offer");
    apply(&mut job, 4, Fact::OrderRefused { attempt: AttemptNumber::from(2), round_over: true });
    assert_eq!((job.wish(), job.round().count()), (Wish::Rest, 2));
    job.command(&Command::Submit("there".parse().expect("a name"))).expect("it is created again");
    assert_eq!(job.round().count(), 0, "a new submission begins anew");
}

#[test]
fn only_a_job_for_any_provider_goes_to_another() {
    let mut job = submitted();
    job.set_auto();
    job.intend(order(1), "there".parse().expect("a name"), at(1)).expect("any provider will do");
    assert_eq!(job.provider().map(|name| name.as_str()), Some("there"));
}

#[test]
fn the_phases_of_an_attempt_are_kept_with_their_times() {
    let mut job = ordered();
    job.set_phase(Some(Phase::Ordering), at(2));
    job.wait_for_capacity(at(3));
    job.wait_for_capacity(at(4));
    assert_eq!(job.body().capacity_since, Some(at(3)));
    apply(&mut job, 5, Fact::Placed(rental(1, true)));
    assert_eq!(job.body().capacity_since, None);
    job.set_phase(Some(Phase::Booting), at(5));
    let phases = [(Phase::Ordering, at(2)), (Phase::WaitingForCapacity, at(3)), (Phase::Booting, at(5))];
    assert_eq!(job.attempts()[0].phases, phases);
}

#[test]
fn a_job_whose_lost_machine_may_be_there_is_not_forgotten() {
    let mut job = running();
    apply(&mut job, 20, Fact::Lost { attempt: AttemptNumber::FIRST });
    apply(&mut job, 21, Fact::Failed { at: at(21) });
    job.ask(&Command::Delete).expect_err("its machine was not proven gone");
    assert_eq!(job.attempts()[0].billed_s(at(65)), 60);
    job.set_gone(AttemptNumber::FIRST, at(70), Some(at(25)));
    assert_eq!((job.attempts()[0].billed_s(at(99)), job.attempts()[0].trained_s(at(99))), (20, 10));
    job.ask(&Command::Delete).expect("nothing of it is left");
}

#[test]
fn a_cancel_outlives_the_refusal_of_the_order_it_met() {
    let mut job = ordered();
    job.command(&Command::Cancel).expect("its submission is unanswered");
    apply(&mut job, 2, REFUSED);
    assert_eq!(job.wish(), Wish::Stop(StopCause::Cancel));
    job.intend(order(2), "here".parse().expect("a name"), at(3)).expect_err("nothing more is ordered");
    apply(&mut job, 3, Fact::Admitted);
    apply(&mut job, 3, Fact::Stopped { at: at(3) });
    assert_eq!(job.state().name(), StateName::Stopped);
}

#[test]
fn a_job_that_was_not_submitted_takes_no_fact_and_no_deadline() {
    let mut job = job();
    job.intend(order(1), "here".parse().expect("a name"), at(1)).expect_err("nobody asked for it");
    job.apply(&Fact::Admitted, at(1)).expect_err("nobody asked for it");
    job.stop_for(StopCause::Deadline);
    assert_eq!(job, super::job());
}

#[test]
fn an_order_found_refused_after_the_end_ends_the_release() {
    let mut job = ordered();
    apply(&mut job, 2, Fact::Admitted);
    apply(&mut job, 3, Fact::Failed { at: at(3) });
    assert_eq!(job.body().phase, Some(Phase::Releasing));
    apply(&mut job, 4, REFUSED);
    assert_eq!((job.body().phase, job.state().claim()), (None, None));
}

#[test]
fn a_stored_job_that_contradicts_itself_is_not_loaded() {
    let refused = |job: &Job, change: &dyn Fn(&mut JobBody)| -> String {
        let mut body = job.body().clone();
        change(&mut body);
        let error: CorruptJob = Job::restore(job.spec().clone(), body).expect_err("it contradicts itself");
        error.what.to_owned()
    };
    let (created, run) = (submitted(), running());
    let mut paused = running();
    apply(&mut paused, 20, Fact::Paused);
    for job in [&created, &run, &paused] {
        assert_eq!(restored(job).as_ref(), Ok(job));
    }
    let told = [
        refused(&run, &|body| body.attempts[0].number = AttemptNumber::from(2)),
        refused(&run, &|body| body.attempts.clear()),
        refused(&run, &|body| body.attempts[0].machine = None),
        refused(&run, &|body| body.state = JobState::Running { claim: asked(2), started_at: at(10) }),
        refused(&run, &|body| body.started_at = None),
        refused(&run, &|body| body.started_at = Some(at(11))),
        refused(&run, &|body| body.completed_at = Some(at(20))),
        refused(&run, &|body| body.state = JobState::Failed(super::Ended { at: at(20), left: None })),
        refused(&run, &|body| body.state = JobState::Initializing(Claim::Waiting)),
        refused(&run, &|body| {
            body.state = JobState::Failed(super::Ended { at: at(20), left: Some(Claim::Waiting) });
            body.completed_at = Some(at(20));
        }),
        refused(&run, &|body| body.paused_since = Some(at(20))),
        refused(&paused, &|body| body.paused_since = None),
        refused(&run, &|body| body.provider = None),
        refused(&run, &|body| body.wish = Wish::Rest),
        refused(&created, &|body| body.state = JobState::Created { order: Some(AttemptNumber::FIRST) }),
    ];
    insta::assert_snapshot!(told.join("\n"), @r"
    its attempts are not numbered 1, 2, 3 …
    its state speaks of an attempt that is not the last, or of another machine than that one's
    its state speaks of an attempt that is not the last, or of another machine than that one's
    its state speaks of an attempt that is not the last, or of another machine than that one's
    its state and its first start contradict each other
    its state and its first start contradict each other
    its end has no time, or its time no end
    its end has no time, or its time no end
    its state and its first start contradict each other
    it has ended and waits for a machine
    its state and its last pause contradict each other
    its state and its last pause contradict each other
    it was submitted to nobody
    it was submitted, and nobody wished it
    its state speaks of an attempt that is not the last, or of another machine than that one's
    ");
}
