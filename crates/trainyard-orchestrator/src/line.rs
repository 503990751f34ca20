//! The line in front of a provider whose slots are all taken: first come, first served.

use std::collections::VecDeque;
use std::sync::Mutex;

use trainyard_domain::JobId;

use crate::bells::lock;

/// Jobs that wait for a slot, the longest waiting first.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<VecDeque<JobId>>);

impl Line {
    /// Puts a job at the end of the line, where it is not in it.
    pub(crate) fn join(&self, id: &JobId) {
        let mut line = lock(&self.0);
        if !line.contains(id) {
            line.push_back(id.clone());
        }
    }

    /// Whether that job may order now: it is the first in line (or there is no line) and a slot is free. A job that
    /// may not is put in line. One that may keeps its place until it [leaves](Line::leave), so that nobody behind it
    /// takes its slot while its order is on the way.
    pub(crate) fn may_order(&self, id: &JobId, free: impl Fn() -> bool) -> bool {
        let mut line = lock(&self.0);
        let first = line.front().is_none_or(|first| first == id);
        if first && free() {
            return true;
        }
        if !line.contains(id) {
            line.push_back(id.clone());
        }
        false
    }

    /// Puts a job whose order found no slot back to the front.
    pub(crate) fn step_back(&self, id: &JobId) {
        let mut line = lock(&self.0);
        if !line.contains(id) {
            line.push_front(id.clone());
        }
    }

    /// A job that wants no slot any more leaves the line.
    pub(crate) fn leave(&self, id: &JobId) {
        lock(&self.0).retain(|other| other != id);
    }

    /// Who is to be woken when a slot is free.
    pub(crate) fn first(&self) -> Option<JobId> {
        lock(&self.0).front().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_in_line_orders_first() {
        let line = Line::default();
        let [a, b, c] = ["a", "b", "c"].map(|id| id.parse::<JobId>().unwrap());
        assert!(!line.may_order(&a, || false));
        assert!(!line.may_order(&b, || false));
        assert!(!line.may_order(&c, || true), "a newcomer does not jump the line");
        assert_eq!(line.first(), Some(a.clone()));
        assert!(line.may_order(&a, || true));
        assert!(!line.may_order(&b, || true), "the order of the first is on the way: its slot is not free");
        line.leave(&a);
        line.leave(&b);
        assert!(line.may_order(&c, || true));
        line.leave(&c);
        assert!(line.may_order(&b, || true), "nobody is in line");
    }
}
