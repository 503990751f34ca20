//! Slots: what can be had at once on this machine, and who has it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use trainyard_connector::Vacancy;
use trainyard_domain::OrderName;

/// What one training has of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Slot {
    /// One of the configured number.
    Cpu,
    /// These cards.
    Gpus(Vec<u32>),
}

/// Who has which slot. Lives in memory; rebuilt from the directories of living agents.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    taken: Mutex<HashMap<OrderName, Slot>>,
    pub(crate) freed: Notify,
}

impl Slots {
    /// Takes what `want` cards need, or a CPU slot where the machine has no cards. `None`: not to be had now.
    /// `idle` says whether somebody else computes on a card; it is asked of cards that none of ours has.
    pub(crate) fn take(
        &self,
        order: &OrderName,
        want: u32,
        cards: u32,
        cpu_slots: u32,
        idle: impl Fn(u32) -> bool,
    ) -> Option<Slot> {
        let mut taken = self.lock();
        if let Some(had) = taken.get(order) {
            return Some(had.clone());
        }
        let slot = choose(&taken, want, cards, cpu_slots, idle)?;
        taken.insert(order.clone(), slot.clone());
        Some(slot)
    }

    /// How full it is, for somebody who wants that many cards.
    pub(crate) fn vacancy(
        &self,
        want: u32,
        cards: u32,
        cpu_slots: u32,
        idle: impl Fn(u32) -> bool,
    ) -> Vacancy {
        let taken = self.lock();
        let free = choose(&taken, want, cards, cpu_slots, idle).is_some();
        let on_cards = want > 0 && cards > 0;
        let used = taken.values().map(|slot| match slot {
            Slot::Cpu => u32::from(!on_cards),
            Slot::Gpus(cards) => {
                if on_cards {
                    cards.len() as u32
                } else {
                    0
                }
            }
        });
        Vacancy { free, taken: used.sum(), slots: if on_cards { cards } else { cpu_slots } }
    }

    /// Notes what an agent that was found has.
    pub(crate) fn note(&self, order: OrderName, slot: Slot) {
        self.lock().insert(order, slot);
    }

    /// The cards of an order.
    pub(crate) fn cards_of(&self, order: &OrderName) -> Option<Vec<u32>> {
        match self.lock().get(order)? {
            Slot::Cpu => Some(Vec::new()),
            Slot::Gpus(cards) => Some(cards.clone()),
        }
    }

    /// Gives a slot back and rings.
    pub(crate) fn free(&self, order: &OrderName) {
        if self.lock().remove(order).is_some() {
            self.freed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<OrderName, Slot>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What could be had. A wish for more cards than there are is met as far as it goes.
fn choose(
    taken: &HashMap<OrderName, Slot>,
    want: u32,
    cards: u32,
    cpu_slots: u32,
    idle: impl Fn(u32) -> bool,
) -> Option<Slot> {
    if want == 0 || cards == 0 {
        let used = taken.values().filter(|slot| matches!(slot, Slot::Cpu)).count();
        return (used < cpu_slots as usize).then_some(Slot::Cpu);
    }
    let want = want.min(cards) as usize;
    let ours = |card: &u32| taken.values().any(|slot| matches!(slot, Slot::Gpus(had) if had.contains(card)));
    let free: Vec<u32> = (0..cards).filter(|card| !ours(card) && idle(*card)).take(want).collect();
    (free.len() == want).then_some(Slot::Gpus(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(n: u8) -> OrderName {
        format!("ty-abcdefgh-{n:026}").parse().unwrap()
    }

    #[test]
    fn cpu_slots_are_counted_and_given_back() {
        let slots = Slots::default();
        assert_eq!(slots.take(&order(1), 1, 0, 2, |_| false), Some(Slot::Cpu));
        assert_eq!(slots.take(&order(1), 1, 0, 2, |_| false), Some(Slot::Cpu), "asked twice, taken once");
        assert_eq!(slots.take(&order(2), 1, 0, 2, |_| false), Some(Slot::Cpu));
        assert_eq!(slots.take(&order(3), 1, 0, 2, |_| false), None);
        assert_eq!(slots.vacancy(1, 0, 2, |_| false), Vacancy { free: false, taken: 2, slots: 2 });
        slots.free(&order(1));
        assert_eq!(slots.take(&order(3), 1, 0, 2, |_| false), Some(Slot::Cpu));
    }

    #[test]
    fn cards_that_another_process_fills_are_skipped() {
        let slots = Slots::default();
        let idle = |card| card != 1;
        assert_eq!(slots.take(&order(1), 2, 4, 1, idle), Some(Slot::Gpus(vec![0, 2])));
        assert_eq!(slots.take(&order(2), 2, 4, 1, idle), None, "only card 3 is left");
        assert_eq!(slots.take(&order(2), 1, 4, 1, idle), Some(Slot::Gpus(vec![3])));
        assert_eq!(slots.take(&order(3), 0, 4, 1, idle), Some(Slot::Cpu), "who wants no card takes none");
        slots.free(&order(1));
        assert_eq!(slots.cards_of(&order(2)), Some(vec![3]));
        assert_eq!(
            slots.take(&order(4), 9, 2, 1, |_| true),
            Some(Slot::Gpus(vec![0, 1])),
            "as far as it goes"
        );
    }
}
