//! The life of one machine, from the order to its end: a task that goes by the world's clock.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::place::{Doom, Fate};
use super::{Cause, Ill, Kind, Machine, Phase, Uid, Wanted, World};
use crate::machine::{Forwards, Running};
use crate::scripted;
use crate::vendor::Vendor;

/// Exits kept of one machine.
const EXITS_MAX: usize = 1000;

/// How long a machine waits at its first start for a port that another one, or another program of this computer, has.
const PORTS_WITHIN: Duration = Duration::from_secs(30);

/// Lives it. Ends when the machine is gone.
pub(super) async fn live(world: World, uid: Uid, mut wishes: watch::Receiver<Wanted>, mut fates: Vec<Fate>) {
    loop {
        let wish = *wishes.borrow_and_update();
        match wish {
            Wanted::Running => tokio::select! {
                () = run(&world, uid, &mut fates) => {}
                _ = wishes.changed() => {}
            },
            Wanted::Stopped => {
                world.kill_all_of(uid).await;
                let since = world.by_uid(uid).map(|machine| machine.wanted_since);
                world.clock().sleep_until(since.unwrap_or_default() + world.delays().stop).await;
                world.edit_by_uid(uid, |kept, now| {
                    kept.now.mapped.clear();
                    kept.enter(Phase::Stopped, now)
                });
                // The sender is dropped only with the machine.
                let _ = wishes.changed().await;
            }
            Wanted::Removed => {
                world.kill_all_of(uid).await;
                world.stay(uid, world.delays().removal).await;
                world.bury(uid).await;
                return;
            }
        }
    }
}

/// Boots it and keeps it running. Does not return.
async fn run(world: &World, uid: Uid, fates: &mut Vec<Fate>) {
    let Some(machine) = world.by_uid(uid) else { return never().await };
    if machine.starts == 0 {
        boot(world, &machine).await;
    }
    world.enter(uid, Phase::Starting);
    world.stay(uid, world.delays().start).await;
    if let Some(Ill::Start(text)) = &machine.ills.ill {
        return broken(world, &machine, Ill::Start(text.clone())).await;
    }
    if machine.starts == 0 && !world.may_be_scripted(machine.vendor) && !has_its_ports(world, &machine).await
    {
        let text = "a port of this computer that the machine needs is in use by another machine or program";
        return broken(world, &machine, Ill::Start(text.to_owned())).await;
    }
    let forwards = match &machine.order {
        order if order.mapped => Forwards::bind(world, uid, &order.ports).await,
        _ => Forwards::default(),
    };
    world.edit_by_uid(uid, |kept, _| kept.now.mapped = forwards.ports());
    let program = async {
        match machine.order.kind {
            Kind::Container => keep_running(world, uid, fates).await,
            Kind::Whole => run_once(world, uid, fates).await,
        }
    };
    let service = async {
        if let Some(service) = &machine.order.service {
            world.runs(uid).await;
            service.run(world.clone(), world.by_uid(uid).unwrap_or_else(|| machine.clone())).await;
        }
    };
    tokio::join!(program, service);
}

/// All machines share the ports of this computer. Waits until no older machine of this world has these and no other program
/// listens on them, such as a machine of another world. Says whether that came about.
async fn has_its_ports(world: &World, machine: &Machine) -> bool {
    let until = Instant::now() + PORTS_WITHIN;
    let ports = &machine.order.ports;
    let taken = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_err();
    while world.has_older_with(machine.uid, ports) || ports.iter().any(taken) {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    true
}

/// From the order to the image.
async fn boot(world: &World, machine: &Machine) {
    let delays = world.delays();
    world.stay(machine.uid, delays.boot).await;
    if machine.ills.never_boots {
        return never().await;
    }
    if machine.order.kind == Kind::Whole {
        return;
    }
    world.enter(machine.uid, Phase::Pulling);
    let image = &machine.order.image;
    world.note(machine, format!("create container {image}"));
    if let Some(Ill::Image(text)) = &machine.ills.ill {
        world.stay(machine.uid, delays.pull).await;
        return broken(world, machine, Ill::Image(text.clone())).await;
    }
    world.note(machine, format!("{image} Pulling from registry"));
    let pull = match world.options().images.get(image) {
        // Bytes × 8 over megabits a second.
        Some(bytes) => {
            Duration::from_secs_f64(*bytes as f64 * 8e-6 / f64::from(machine.offer.megabits.max(1)))
        }
        None => delays.pull,
    };
    world.stay(machine.uid, pull).await;
    world.note(machine, format!("Status: Downloaded newer image for {image}"));
}

async fn broken(world: &World, machine: &Machine, ill: Ill) {
    let text = match &ill {
        Ill::Image(text) | Ill::Start(text) => text.clone(),
    };
    world.note(machine, format!("error: {text}"));
    world.enter(machine.uid, Phase::Broken(ill));
    never().await
}

/// Runs a container's program, again and again.
async fn keep_running(world: &World, uid: Uid, fates: &mut Vec<Fate>) {
    loop {
        let Some(machine) = world.begin(uid, fates) else { return never().await };
        run_program(world, &machine).await;
        // What the first process of a container leaves behind ends with it.
        world.kill_all_of(uid).await;
        world.enter(uid, Phase::Exited);
        let pause = match machine.vendor {
            Vendor::Runpod => world.delays().restart_runpod,
            Vendor::Lambda | Vendor::Vastai => world.delays().restart_vastai,
        };
        world.stay(uid, pause).await;
        world.note(&machine, "start container");
    }
}

/// Runs a whole machine's program at its first boot. The machine goes on without it.
async fn run_once(world: &World, uid: Uid, fates: &mut Vec<Fate>) {
    let machine = world.begin(uid, fates).filter(|machine| machine.starts == 1);
    if let Some(machine) = machine {
        run_program(world, &machine).await;
    }
    never().await
}

/// Runs a machine's program to its end and notes how it ended.
async fn run_program(world: &World, machine: &Machine) {
    if machine.order.program.is_empty() {
        return never().await;
    }
    if world.host(machine) {
        return never().await;
    }
    let mut running = match Running::start(world, machine) {
        Ok(running) => running,
        Err(error) => {
            let program = machine.order.program.first().map_or("", String::as_str);
            let text = format!("OCI runtime create failed: exec: \"{program}\": {error}");
            return broken(world, machine, Ill::Start(text)).await;
        }
    };
    let forced = async {
        match world.next_forced_exit(machine.uid) {
            Some((code, after)) => {
                world.clock().sleep(after).await;
                code
            }
            None => std::future::pending().await,
        }
    };
    let code = tokio::select! {
        code = running.wait() => code,
        code = forced => code,
    };
    world.edit_by_uid(machine.uid, |kept, _| {
        if kept.now.exits.len() < EXITS_MAX {
            kept.now.exits.push(code);
        }
    });
}

async fn never() {
    std::future::pending().await
}

impl World {
    /// It runs from now on, with its program started once more.
    fn begin(&self, uid: Uid, fates: &mut Vec<Fate>) -> Option<Machine> {
        self.edit_by_uid(uid, |kept, now| {
            kept.now.starts += 1;
            kept.enter(Phase::Running, now);
            kept.now.started_at = Some(now);
        });
        let machine = self.by_uid(uid)?;
        for fate in fates.drain(..) {
            self.doom(&machine, fate);
        }
        Some(machine)
    }

    /// Whether a machine that was ordered before this one, and is not gone, has one of these ports.
    fn has_older_with(&self, uid: Uid, ports: &[u16]) -> bool {
        let state = self.state();
        let mut older =
            state.machines.values().map(|kept| &kept.now).filter(|it| it.uid < uid && it.is_alive());
        older.any(|it| it.order.ports.iter().any(|port| ports.contains(port)))
    }

    /// Whether a machine of that vendor may be no process: such ones share no ports.
    pub(super) fn may_be_scripted(&self, vendor: Vendor) -> bool {
        self.options().script.is_some() && vendor == Vendor::Runpod
    }

    /// Gives a machine a scripted agent instead of processes; says whether it is such a one.
    fn host(&self, machine: &Machine) -> bool {
        let script = self.options().script.filter(|_| self.may_be_scripted(machine.vendor));
        let order = machine.order.environment.of(machine).remove(scripted::ORDER);
        let Some((script, order)) = script.zip(order) else { return false };
        let boot = self.word("0123456789abcdef", 32);
        let agent = Arc::new(scripted::Agent::new(order, boot, script));
        self.state().scripted.insert(machine.uid, agent);
        true
    }

    /// The scripted agent of a machine, while it runs.
    pub(crate) fn hosted(&self, uid: Uid) -> Option<Arc<scripted::Agent>> {
        self.state().scripted.get(&uid).cloned()
    }

    /// Nothing of it runs any more.
    pub(crate) async fn kill_all_of(&self, uid: Uid) {
        let hosted = self.state().scripted.remove(&uid);
        if hosted.is_none() {
            self.sweep(uid).await;
        }
    }

    /// Waits until it has been in its phase for so long; a step of the clock right after it came there counts.
    async fn stay(&self, uid: Uid, time: Duration) {
        if let Some(machine) = self.by_uid(uid) {
            self.clock().sleep_until(machine.since + time).await;
        }
    }

    /// That befalls it later.
    fn doom(&self, machine: &Machine, fate: Fate) {
        let (world, vendor, id) = (self.clone(), machine.vendor, machine.id.clone());
        self.spawn(async move {
            world.clock().sleep(fate.after).await;
            // One that is gone already is spared.
            let _ = match fate.what {
                Doom::Preempted => world.preempt(vendor, &id),
                Doom::Deleted => world.remove_by(vendor, &id, Cause::Console),
                Doom::Lost => world.set_reachable(vendor, &id, false),
            };
        });
    }
}
