//! The real orchestrator over an in-memory storage and an in-memory world that bills, on a clock that jumps from one
//! thing that happens to the next: one seed is one scenario, and thousands of them fit in a minute.
//!
//! A scenario has two parts. First jobs are created, submitted, paused, cancelled and deleted while everything goes
//! wrong that its seed has drawn: refusals, answers that are lost before or after their effect, listings that fail or
//! come late, removals that are ignored, machines that never come up or are taken away, agents that die, storage that
//! fails, clocks that jump, and the process itself, which is killed between any two calls, or stalls while the next one
//! takes over. Then the faults stop, and everything must come to rest: [`oracle`] reads from outside whether a job was
//! lost, a machine leaked or doubled, a history told wrongly, an artifact damaged.

pub mod clock;
pub mod dice;
pub mod exhaust;
pub mod memory;
pub mod oracle;
pub mod process;
pub mod run;
pub mod scenario;
pub mod world;
