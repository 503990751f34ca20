//! The line in front of a provider whose slots are all taken: first come, first served.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;

use trainyard_connector::Vacancy;
use trainyard_domain::JobId;

use crate::bells::lock;

/// Jobs that wait for a slot, the longest waiting first, and orders on their way.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<JobId>,
    /// What orders on their way want: slots that the provider does not count as taken yet.
    going: HashMap<JobId, u32>,
}

/// What a job that wants to order is told.
#[derive(Debug)]
pub(crate) enum Turn<'a> {
    /// Order now.
    Go(Going<'a>),
    /// It is the next one, and an order on its way decides in a moment whether there is room.
    Soon,
    /// Wait in line.
    Wait,
}

/// An order on its way. What it wants counts as taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Going<'a> {
    line: &'a Line,
    id: JobId,
}

impl Drop for Going<'_> {
    fn drop(&mut self) {
        lock(&self.line.0).going.remove(&self.id);
    }
}

impl Line {
    /// Whether that job may order now: it is the first in line (or there is no line), and a slot is free that no order
    /// on its way is about to take. A job that may not is put in line; one that may has left it.
    pub(crate) fn may_order(&self, id: &JobId, wants: u32, vacancy: impl Fn() -> Vacancy) -> Turn<'_> {
        let mut state = lock(&self.0);
        let first = state.waiting.front().is_none_or(|first| first == id);
        let room = if first { state.room(wants, &vacancy()) } else { Room::None };
        if room == Room::Free {
            state.waiting.pop_front();
            state.going.insert(id.clone(), wants);
            return Turn::Go(Going { line: self, id: id.clone() });
        }
        if !state.waiting.contains(id) {
            state.waiting.push_back(id.clone());
        }
        if room == Room::Claimed { Turn::Soon } else { Turn::Wait }
    }

    /// Puts a job whose order found no slot back to the front.
    pub(crate) fn step_back(&self, id: &JobId) {
        let mut state = lock(&self.0);
        if !state.waiting.contains(id) {
            state.waiting.push_front(id.clone());
        }
    }

    /// A job that wants no slot any more leaves the line. Says whether it stood there.
    pub(crate) fn leave(&self, id: &JobId) -> bool {
        let mut state = lock(&self.0);
        let before = state.waiting.len();
        state.waiting.retain(|other| other != id);
        state.waiting.len() < before
    }

    /// The line as it was before a restart; who stands there already stands behind.
    pub(crate) fn restore(&self, waiting: Vec<JobId>) {
        let mut state = lock(&self.0);
        let later = std::mem::replace(&mut state.waiting, waiting.into());
        let later: Vec<JobId> = later.into_iter().filter(|id| !state.waiting.contains(id)).collect();
        state.waiting.extend(later);
    }

    /// Who is to be woken when a slot is free.
    pub(crate) fn first(&self) -> Option<JobId> {
        lock(&self.0).waiting.front().cloned()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Free,
    /// What is free may be what orders on their way are about to take.
    Claimed,
    None,
}

impl State {
    fn room(&self, wants: u32, vacancy: &Vacancy) -> Room {
        let going = self.going.values().fold(0, |sum: u32, wants| sum.saturating_add(*wants));
        let after = vacancy.taken.saturating_add(going).saturating_add(wants);
        match (vacancy.free, going == 0 || after <= vacancy.slots) {
            (true, true) => Room::Free,
            (true, false) => Room::Claimed,
            (false, _) => Room::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids<const N: usize>(words: [&str; N]) -> [JobId; N] {
        words.map(|id| id.parse().unwrap())
    }

    fn slots(taken: u32, slots: u32) -> impl Fn() -> Vacancy {
        move || Vacancy { free: taken < slots, taken, slots }
    }

    fn goes(turn: Turn<'_>) -> bool {
        matches!(turn, Turn::Go(_))
    }

    #[test]
    fn the_first_in_line_orders_first() {
        let line = Line::default();
        let [a, b, c] = ids(["a", "b", "c"]);
        assert!(matches!(line.may_order(&a, 1, slots(1, 1)), Turn::Wait));
        assert!(matches!(line.may_order(&b, 1, slots(1, 1)), Turn::Wait));
        assert!(
            matches!(line.may_order(&c, 1, slots(0, 1)), Turn::Wait),
            "a newcomer does not jump the line"
        );
        assert_eq!(line.first(), Some(a.clone()));
        assert!(goes(line.may_order(&a, 1, slots(0, 1))));
        assert!(line.leave(&b) && !line.leave(&b));
        assert!(goes(line.may_order(&c, 1, slots(0, 1))));
        assert!(goes(line.may_order(&b, 1, slots(0, 1))), "nobody is in line");
    }

    #[test]
    fn a_slot_that_an_order_on_its_way_will_take_is_not_free() {
        let line = Line::default();
        let [a, b, c] = ids(["a", "b", "c"]);
        let first = line.may_order(&a, 1, slots(0, 2));
        let second = line.may_order(&b, 1, slots(0, 2));
        assert!(matches!((&first, &second), (Turn::Go(_), Turn::Go(_))), "there are two");
        assert!(matches!(line.may_order(&c, 1, slots(0, 2)), Turn::Soon), "both are spoken for");
        drop(first);
        assert!(matches!(line.may_order(&c, 1, slots(1, 2)), Turn::Soon), "one is taken, one spoken for");
        drop(second);
        assert!(goes(line.may_order(&c, 1, slots(1, 2))), "the second order came to nothing");
    }

    #[test]
    fn a_line_comes_back_in_its_order() {
        let line = Line::default();
        let [a, b, c] = ids(["a", "b", "c"]);
        assert!(!goes(line.may_order(&c, 1, slots(1, 1))));
        line.restore(vec![a.clone(), b.clone()]);
        assert!(!goes(line.may_order(&b, 1, slots(0, 1))), "not before the first");
        for id in [a, b, c] {
            assert_eq!(line.first(), Some(id.clone()));
            assert!(goes(line.may_order(&id, 1, slots(0, 1))));
        }
    }
}
