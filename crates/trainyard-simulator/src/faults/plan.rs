//! The plan in force, and what is drawn of it for one request.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Fault;
use crate::random::Random;
use crate::vendor::Vendor;

/// Most rules of a plan.
const RULES_MAX: usize = 1000;

/// A plan, as `PUT /world/faults` takes it. It replaces the one before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// What the dice of `chance` are made of.
    #[serde(default)]
    pub seed: u64,
    /// The rules; each is looked at for every request.
    #[serde(default)]
    pub rules: Vec<Rule>,
}

/// Where, when, what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// At which vendor; none: at all.
    #[serde(default)]
    pub vendor: Option<Vendor>,
    /// At which operation; none: at all.
    #[serde(default)]
    pub operation: Option<String>,
    /// When, counted over the requests that the two above let through.
    #[serde(default)]
    pub when: When,
    /// What.
    pub fault: Fault,
}

/// When a rule strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// Each time.
    #[default]
    Always,
    /// The next so many times.
    Next(u32),
    /// Once: the n-th time from now, counted from 1.
    Nth(u32),
    /// With that probability, 0 to 1.
    Chance(f64),
}

impl Rule {
    /// Strikes the next time at that vendor's operation.
    pub fn once(vendor: Vendor, operation: &str, fault: Fault) -> Rule {
        Rule { vendor: Some(vendor), operation: Some(operation.to_owned()), when: When::Next(1), fault }
    }

    /// Strikes each time at that vendor's operation.
    pub fn always(vendor: Vendor, operation: &str, fault: Fault) -> Rule {
        Rule { when: When::Always, ..Rule::once(vendor, operation, fault) }
    }

    fn is_about(&self, vendor: Vendor, operation: &str) -> bool {
        self.vendor.is_none_or(|only| only == vendor)
            && self.operation.as_deref().is_none_or(|only| only == operation)
    }
}

/// What was drawn for one request. Several rules may strike at once.
#[derive(Debug, Clone, Default)]
pub struct Drawn {
    faults: Vec<Fault>,
}

impl Drawn {
    /// These faults.
    pub fn of(faults: Vec<Fault>) -> Drawn {
        Drawn { faults }
    }

    /// All of them, in the order of the rules.
    pub fn all(&self) -> &[Fault] {
        &self.faults
    }

    /// The first one that `pick` takes.
    pub fn find<'a, T>(&'a self, pick: impl FnMut(&'a Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(pick)
    }

    /// Whether exactly this one is among them.
    pub fn has(&self, fault: &Fault) -> bool {
        self.faults.contains(fault)
    }

    /// The value of a vendor's own switch, where it is on; `null` where the rule gave none.
    pub fn own(&self, name: &str) -> Option<&Value> {
        self.find(|fault| match fault {
            Fault::Own { name: found, value } if found == name => Some(value),
            _ => None,
        })
    }
}

/// The plan in force with its counters.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    /// How often each rule was looked at.
    seen: Vec<u32>,
    /// How often each rule struck.
    struck: Vec<u32>,
    dice: Random,
}

impl Default for State {
    fn default() -> State {
        State::new(FaultPlan::default())
    }
}

impl State {
    fn new(mut plan: FaultPlan) -> State {
        plan.rules.truncate(RULES_MAX);
        let zeros = vec![0; plan.rules.len()];
        State { seen: zeros.clone(), struck: zeros, dice: Random::new(plan.seed), plan }
    }
}

impl Faults {
    /// Replaces the plan; every rule counts from here.
    pub(crate) fn set(&self, plan: FaultPlan) {
        *self.state() = State::new(plan);
    }

    /// Adds a rule.
    pub(crate) fn add(&self, rule: Rule) {
        let mut state = self.state();
        if state.plan.rules.len() < RULES_MAX {
            state.plan.rules.push(rule);
            state.seen.push(0);
            state.struck.push(0);
        }
    }

    /// The plan, with how often each rule struck.
    pub(crate) fn shown(&self) -> (FaultPlan, Vec<u32>) {
        let state = self.state();
        (state.plan.clone(), state.struck.clone())
    }

    /// What strikes this request.
    pub(crate) fn draw(&self, vendor: Vendor, operation: &str) -> Drawn {
        let mut state = self.state();
        let State { plan, seen, struck, dice } = &mut *state;
        let mut drawn = Drawn::default();
        for ((rule, seen), struck) in plan.rules.iter().zip(seen).zip(struck) {
            // Equal rules queue: each waits until the one before it is through.
            if !rule.is_about(vendor, operation) || drawn.faults.contains(&rule.fault) {
                continue;
            }
            *seen = seen.saturating_add(1);
            let strikes = match rule.when {
                When::Always => true,
                When::Next(times) => *seen <= times,
                When::Nth(nth) => *seen == nth,
                When::Chance(probability) => dice.chance(probability),
            };
            if strikes {
                *struck = struck.saturating_add(1);
                drawn.faults.push(rule.fault.clone());
            }
        }
        drawn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::Canned;

    fn strikes(when: When, tries: usize) -> Vec<bool> {
        let faults = Faults::default();
        let rule = Rule { when, ..Rule::once(Vendor::Lambda, "list", Fault::Twice) };
        faults.set(FaultPlan { seed: 3, rules: vec![rule] });
        let draw = || {
            assert!(faults.draw(Vendor::Lambda, "get").all().is_empty(), "another operation is not counted");
            assert!(faults.draw(Vendor::Runpod, "list").all().is_empty(), "nor another vendor's");
            faults.draw(Vendor::Lambda, "list").has(&Fault::Twice)
        };
        (0..tries).map(|_| draw()).collect()
    }

    #[test]
    fn rules_strike_when_they_say() {
        assert_eq!(strikes(When::Always, 3), [true, true, true]);
        assert_eq!(strikes(When::Next(2), 4), [true, true, false, false]);
        assert_eq!(strikes(When::Nth(3), 4), [false, false, true, false]);
        assert_eq!(strikes(When::Chance(0.0), 20), [false; 20]);
        assert_eq!(strikes(When::Chance(1.0), 20), [true; 20]);
    }

    #[test]
    fn equal_rules_strike_one_after_another() {
        let faults = Faults::default();
        for _ in 0..3 {
            faults.add(Rule::once(Vendor::Runpod, "list", Fault::Twice));
        }
        let struck: Vec<usize> = (0..5).map(|_| faults.draw(Vendor::Runpod, "list").all().len()).collect();
        assert_eq!(struck, [1, 1, 1, 0, 0]);
    }

    #[test]
    fn the_same_seed_throws_the_same_dice() {
        let some = strikes(When::Chance(0.3), 400);
        assert_eq!(some, strikes(When::Chance(0.3), 400));
        let share = some.iter().filter(|struck| **struck).count();
        assert!((80..160).contains(&share), "{share} of 400");
    }

    #[test]
    fn a_plan_is_read_as_documented() {
        let text = r#"{"seed": 7, "rules": [
            {"vendor": "runpod", "operation": "create", "when": {"next": 1}, "fault": {"stall_after": {"seconds": 30}}},
            {"operation": "list", "when": {"chance": 0.05}, "fault": {"status_before": {"status": 503}}},
            {"vendor": "lambda", "when": {"nth": 3}, "fault": "no_capacity"}]}"#;
        let plan: FaultPlan = serde_json::from_str(text).unwrap();
        assert_eq!(plan.rules[0].fault, Fault::StallAfter { seconds: 30.0 });
        assert_eq!(plan.rules[1].fault, Fault::StatusBefore(Canned::status(503)));
        assert_eq!(plan.rules[2].when, When::Nth(3));
        let back = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<FaultPlan>(&back).unwrap(), plan);
        assert!(serde_json::from_str::<FaultPlan>(r#"{"rules": [{"fault": "nonsense"}]}"#).is_err());
    }

    #[test]
    fn a_vendors_own_switch_is_found_by_name() {
        let faults = Faults::default();
        let own = Fault::Own { name: "vanish_at_once".to_owned(), value: Value::Null };
        faults.add(Rule::always(Vendor::Vastai, "terminate", own));
        let drawn = faults.draw(Vendor::Vastai, "terminate");
        assert_eq!(drawn.own("vanish_at_once"), Some(&Value::Null));
        assert_eq!(drawn.own("other"), None);
        assert_eq!(faults.shown().1, [1]);
    }
}
