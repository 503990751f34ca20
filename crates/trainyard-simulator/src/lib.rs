//! Simulated RunPod, Lambda and Vast.ai: one world that bills and breaks, in the vendors' real wire formats.
//!
//! For tests, and for `trainyard sim`: the whole way of a cloud job without an account. A machine of it really runs
//! the order's start command, as a process group in a directory of its own.
//!
//! # Where things are
//!
//! - [`serve`] starts a [`Simulator`]: one address with `/runpod`, `/lambda`, `/vastai`, `/proxy/{pod}/{port}` (RunPod's
//!   proxy) and `/world` (the truth, see `console`).
//! - [`world`]: accounts, offers, machines, logs; vendor-neutral, and the truth.
//! - [`clock`], [`ledger`], [`faults`]: time, money, what goes wrong.
//! - [`machine`]: processes, directories, mapped ports.
//! - `skins`: one room for each vendor's wire. [`http`] is what they see of HTTP.
//!
//! # The flow of one order
//!
//! 1. A request comes to `/runpod/v2/pods`. The router reads its body, asks the skin which *operation* it is
//!    (`create`), counts it and draws its faults ([`World::call`]); what is drawn travels in
//!    [`Request::call`](http::Request::call). Faults of the way that strike before the effect (a stall, a 429) end it here.
//! 2. The skin checks the key ([`World::access`]), then the body in its vendor's order and words, and makes an
//!    [`Order`]: the offer by its id, the program, the environment (asked at each start, when id, key and mapped ports
//!    are known), ports, disk, and in `details` whatever the vendor echoes later.
//! 3. [`World::place`] refuses it ([`Refused`], which the skin puts into its vendor's words) or places a machine. Faults
//!    of the world (no capacity, a price jump, another size, a machine that never boots) strike there.
//! 4. The machine's life is a task of its own: placed → pulling → starting → running. It makes the directory, binds mapped
//!    ports, starts the program, reads its output into the log ([`world::Log`]), and, where the program of a container
//!    ends, kills what it left and starts it again as the vendor does. Skins only read ([`World::listing`],
//!    [`World::reading`]) and map [`Phase`] to their vendor's words.
//! 5. [`World::terminate`] ends the bill at once and kills every process; the machine is `terminating`, then gone, and
//!    its directory is removed. [`World::stop`] and [`World::start`] are between.
//! 6. The answer goes out; faults of the way that strike after the effect (a cut, a slow body, a 503) happen to it.
//!
//! A skin's own things (SSH keys, logs to be fetched later) lie on its [`World::shelf`]; its own switches are faults of
//! the kind [`Fault::Own`](faults::Fault::Own), asked for by `request.call.drawn.own("name")`.

pub mod clock;
mod console;
pub mod faults;
pub mod http;
pub mod ledger;
pub mod machine;
mod options;
mod random;
mod scripted;
mod serve;
mod skins;
mod vendor;
pub mod world;

pub use options::{Delays, Options};
pub use scripted::Script;
pub use serve::{Simulator, SimulatorError, serve};
pub use vendor::Vendor;
pub use world::{Account, Order, Phase, Refused, World};
