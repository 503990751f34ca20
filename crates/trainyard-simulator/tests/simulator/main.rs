//! The world as its users see it: machines that really run, money, the clock, what goes wrong, and the way.

#![expect(clippy::unwrap_used, reason = "a test stops at the first thing that is not as it must be")]

mod console;
mod lives;
mod money;
mod rig;
mod scripted;
mod way;
