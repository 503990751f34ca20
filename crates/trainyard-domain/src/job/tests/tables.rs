//! Both tables, printed whole: whoever changes a rule sees every state it touches.

use std::fmt::Write;
use std::sync::Arc;

use super::{at, job, order, rental, state_words, states};
use crate::{AttemptNumber, Command, Fact, Job, JobBody, JobState, ProviderName, StateName, StopCause, Wish};

/// Every fact, about attempt 1 and about one that it is not.
fn facts() -> Vec<(String, Fact)> {
    let mut all = Vec::new();
    for number in [1, 2] {
        let attempt = AttemptNumber::from(number);
        for fact in [
            Fact::OrderSent { attempt },
            Fact::OrderRefused { attempt, round_over: true },
            Fact::Placed(rental(number, false)),
            Fact::Started { attempt, at: at(15) },
            Fact::Lost { attempt },
            Fact::Returned { attempt },
            Fact::PassedOn { attempt, to: "next".parse().expect("an id") },
        ] {
            all.push((format!("{}({number})", fact.name()), fact));
        }
    }
    for fact in [
        Fact::Admitted,
        Fact::Paused,
        Fact::Parked,
        Fact::Resumed,
        Fact::Completed { at: at(30) },
        Fact::Failed { at: at(30) },
        Fact::Stopped { at: at(30) },
    ] {
        all.push((fact.name().to_owned(), fact));
    }
    all
}

#[test]
fn every_state_and_fact() {
    let mut table = String::new();
    let mut legal = 0;
    for state in states() {
        writeln!(table, "{}", state_words(&state)).expect("a string takes it");
        for (name, fact) in facts() {
            let next = match state.apply(&fact) {
                Ok(next) => {
                    legal += 1;
                    assert_eq!(moments(&next, &state), None, "{} + {name}", state_words(&state));
                    state_words(&next)
                }
                Err(_) => "—".to_owned(),
            };
            writeln!(table, "  {name:<16} {next}").expect("a string takes it");
        }
    }
    writeln!(table, "{legal} of {} are legal", states().len() * facts().len()).expect("a string takes it");
    insta::assert_snapshot!("transitions", table);
}

/// What is wrong with the times of a state that came of another: the first start and the end never move.
fn moments(next: &JobState, before: &JobState) -> Option<&'static str> {
    let started = |state: &JobState| match state {
        JobState::Running { started_at, .. } | JobState::Paused { started_at, .. } => Some(*started_at),
        _ => None,
    };
    let ended = |state: &JobState| match state {
        JobState::Completed(end) | JobState::Failed(end) | JobState::Stopped(end) => Some(end.at),
        _ => None,
    };
    let moved = |before: Option<_>, next: Option<_>| before.is_some() && next.is_some() && before != next;
    if moved(started(before), started(next)) {
        Some("the first start moved")
    } else if moved(ended(before), ended(next)) {
        Some("the end moved")
    } else {
        None
    }
}

const WISHES: [(&str, Wish); 7] = [
    ("rest", Wish::Rest),
    ("run", Wish::Run),
    ("pause", Wish::Pause),
    ("park", Wish::Park),
    ("stop(cancel)", Wish::Stop(StopCause::Cancel)),
    ("stop(deadline)", Wish::Stop(StopCause::Deadline)),
    ("stop(budget)", Wish::Stop(StopCause::Budget)),
];

/// A job in that state with that wish, submitted to `here`; none where restoring finds a contradiction.
fn in_state(state: &JobState, wish: Wish) -> Option<Job> {
    let here: ProviderName = "here".parse().expect("a name");
    let mut job = job();
    job.command(&Command::Submit(here.clone())).expect("a new job can be submitted");
    let attempt = job.intend(order(1), here, at(1)).expect("the first order");
    job.apply(&Fact::Placed(rental(attempt.get(), true)), at(5)).expect("its machine");
    let started = !matches!(state.name(), StateName::Created | StateName::Initializing);
    if state.claim().is_none() {
        job.set_gone(attempt, at(21), None);
    }
    let body = JobBody {
        wish,
        started_at: started.then(|| at(10)),
        completed_at: state.name().is_end().then(|| at(20)),
        paused_since: (state.name() == StateName::Paused).then(|| at(12)),
        state: state.clone(),
        ..job.body().clone()
    };
    Job::restore(Arc::clone(job.spec()), body).ok()
}

#[test]
fn every_state_wish_and_command() {
    let commands = [
        ("submit here", Command::Submit("here".parse().expect("a name"))),
        ("submit there", Command::Submit("there".parse().expect("a name"))),
        ("cancel", Command::Cancel),
        ("pause", Command::Pause),
        ("park", Command::Park),
        ("resume", Command::Resume),
        ("delete", Command::Delete),
    ];
    let mut table = format!("{:<46}", "state, wish");
    for (name, _) in &commands {
        write!(table, " {name:<18}").expect("a string takes it");
    }
    for state in states() {
        for (word, wish) in WISHES {
            let line = format!("{}, {word}", state_words(&state));
            write!(table, "\n{line:<46}").expect("a string takes it");
            let Some(job) = in_state(&state, wish) else {
                table.push_str(" cannot be");
                continue;
            };
            for (_, command) in &commands {
                let answer = match job.ask(command) {
                    Ok(next) => WISHES
                        .iter()
                        .find(|(_, known)| *known == next)
                        .map_or("?", |(word, _)| word)
                        .to_owned(),
                    Err(refusal) => format!("—{}", refusal.code()),
                };
                write!(table, " {answer:<18}").expect("a string takes it");
            }
        }
    }
    let table: Vec<&str> = table.lines().map(str::trim_end).collect();
    insta::assert_snapshot!("commands", table.join("\n"));
}
