//! What a machine is made of: processes in a directory of their own, and ports that lead there.

mod forward;
mod place;
mod process;
mod sweep;

pub(crate) use forward::Forwards;
pub use place::Commands;
pub(crate) use process::Running;

use std::path::Path;

use crate::world::{Uid, World};

impl World {
    /// Kills every process of a machine and waits until none is left.
    pub(crate) async fn sweep(&self, uid: Uid) {
        let Some(machine) = self.by_uid(uid) else { return };
        let mark = place::machine_mark(self, &machine);
        let world = self.clone();
        let swept = tokio::task::spawn_blocking(move || {
            world.let_starts_end();
            sweep::kill_all(&mark, &machine.root)
        });
        // A task that cannot be joined has panicked and said so.
        let _ = swept.await;
    }

    /// Kills every process of every machine of this world; blocks. For whoever cannot wait.
    pub(crate) fn kill_all_now(&self) {
        sweep::kill_all(&place::world_mark(self), self.root());
    }

    /// How many processes a machine has.
    pub fn processes_of(&self, uid: Uid) -> usize {
        let Some(machine) = self.by_uid(uid) else { return 0 };
        sweep::count(&place::machine_mark(self, &machine), Path::new(&machine.root))
    }
}
