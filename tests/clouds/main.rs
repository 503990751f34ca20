//! The three clouds from end to end, by HTTP only: a real server, real agents that really train on machines of the
//! simulated RunPod, Lambda and Vast.ai, and the simulator's own books as the judge.

#![expect(clippy::expect_used, reason = "a test stops at the first thing that is not as it must be")]

mod alarms;
mod cancel;
mod failures;
mod hub;
mod lease;
mod many;
mod mistakes;
mod money;
mod offers;
mod recovery;
mod restart;
mod resumes;
mod sweep;
mod told;
mod volumes;
mod warm;
mod whole_way;
mod yard;
