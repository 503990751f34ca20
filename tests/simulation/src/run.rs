//! Running a scenario: processes, users, the clock, then calm and rest.

mod user;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use trainyard_domain::{JobId, Machine, OrderName, StateName, Wish};
use trainyard_orchestrator::{Clock, Installation, Orchestrator, Parts, Policy};
use trainyard_storage::{DiskArtifacts, DiskCheckpoints, InputFiles, LogFiles};

use crate::clock::SimulatedClock;
use crate::memory::{Disk, Memory, locked};
use crate::oracle::{self, Verdict};
use crate::process::{Life, Process};
use crate::scenario::{Act, LifeScript, Scenario, Then};
use crate::world::{VENDORS, Vendor, World, connectors};

/// Simulated time that everything has to come to rest once the faults are over.
const RESTS_WITHIN: Duration = Duration::from_secs(8 * 3600);
/// Simulated time in which every bill is read that can be: books are read five times within a day at most.
const SETTLES_WITHIN: Duration = Duration::from_secs(30 * 3600);
/// Between two looks whether everything rests.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// What a user was told of a job.
#[derive(Debug, Clone, Default)]
pub struct Told {
    /// Its creation succeeded.
    pub created: bool,
    /// A submit of it was answered with 2xx.
    pub accepted: bool,
    /// A cancel of it was asked for; it need not have come through.
    pub cancelled: bool,
    /// When first.
    pub cancelled_at: Option<Instant>,
    /// Deleting it was asked for.
    pub deleted: bool,
    /// What no user may ever be told: an error of ours.
    pub broken: Option<String>,
}

/// What is left of a scenario, to be judged.
#[derive(Debug)]
pub struct Ended {
    /// What was asked.
    pub scenario: Scenario,
    /// The world.
    pub world: Arc<World>,
    /// The storage.
    pub disk: Arc<Mutex<Disk>>,
    /// What users were told.
    pub told: BTreeMap<JobId, Told>,
    /// The directory of files.
    pub directory: PathBuf,
    /// Whether it came to rest in time.
    pub rests: bool,
    /// What the ledger holds whose bill could be read and was not settled.
    pub unsettled: Vec<Machine>,
    /// Processes that there were.
    pub processes: u32,
    /// Calls that the first one made until its scenario had come to rest.
    pub first_calls: u64,
    /// Simulated seconds that it took.
    pub took_s: f64,
}

/// How scenarios are run: what a mutant changes.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The limits in force.
    pub policy: Policy,
    /// Whether a journal is written.
    pub journal: bool,
    /// Where files go; fast memory at best.
    pub root: PathBuf,
}

impl Default for Settings {
    fn default() -> Settings {
        let shm = Path::new("/dev/shm");
        let root = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
        // Books are read sooner than in life, and are behind by less.
        let policy = Policy { bill_after: Duration::from_secs(10), ..Policy::default() };
        Settings { policy, journal: false, root }
    }
}

/// Runs the scenario of a seed, and judges it.
///
/// # Errors
/// What was wrong, one finding a line.
pub fn run(scenario: &Scenario, settings: &Settings) -> Result<Verdict, Vec<String>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| vec![error.to_string()])?;
    let directory = tempfile::Builder::new().prefix("trainyard-simulation-").tempdir_in(&settings.root);
    let directory = directory.map_err(|error| vec![error.to_string()])?;
    let ended = runtime.block_on(Stage::play(scenario, settings, directory.path()))?;
    let judged = runtime.block_on(async { oracle::judge(&ended) }).map_err(|mut wrong| {
        wrong.extend(ended.world.journal());
        wrong
    });
    runtime.shutdown_background();
    judged
}

/// What everybody in a scenario shares.
struct Stage {
    scenario: Scenario,
    settings: Settings,
    directory: PathBuf,
    world: Arc<World>,
    disk: Arc<Mutex<Disk>>,
    clock: Arc<SimulatedClock>,
    /// The process that users speak to.
    present: watch::Sender<Option<(Arc<Process>, Orchestrator)>>,
    told: Mutex<BTreeMap<JobId, Told>>,
    processes: Mutex<u32>,
    first_calls: Mutex<u64>,
    users_left: AtomicUsize,
    began: Instant,
}

impl Stage {
    async fn play(scenario: &Scenario, settings: &Settings, at: &Path) -> Result<Ended, Vec<String>> {
        let world = World::new(scenario.seed, scenario.faults.clone(), settings.journal);
        world.with(|state| state.fates = scenario.fates.iter().rev().copied().collect());
        let stage = Arc::new(Stage {
            scenario: scenario.clone(),
            settings: settings.clone(),
            directory: at.to_owned(),
            clock: SimulatedClock::new(world.time, scenario.seed),
            world,
            disk: Arc::default(),
            present: watch::channel(None).0,
            told: Mutex::default(),
            processes: Mutex::default(),
            first_calls: Mutex::default(),
            users_left: AtomicUsize::new(scenario.jobs.len()),
            began: Instant::now(),
        });
        let mut users = tokio::task::JoinSet::new();
        for script in scenario.jobs.iter().cloned() {
            let stage = stage.clone();
            users.spawn(async move {
                stage.clone().user(script).await;
                stage.users_left.fetch_sub(1, Ordering::Relaxed);
            });
        }
        let others = tokio::spawn(stage.clone().others());
        stage.live().await?;
        stage.world.calm();
        stage.clock.set_wrong(0);
        while users.join_next().await.is_some() {}
        others.abort();
        stage.resume_all().await;
        let rests = stage.come_to_rest(RESTS_WITHIN, Stage::rests).await;
        if rests {
            stage.come_to_rest(SETTLES_WITHIN, Stage::is_settled).await;
        }
        let told = std::mem::take(&mut *locked(&stage.told));
        let processes = *locked(&stage.processes);
        let first_calls = *locked(&stage.first_calls);
        Ok(Ended {
            scenario: scenario.clone(),
            world: stage.world.clone(),
            disk: stage.disk.clone(),
            told,
            directory: stage.directory.clone(),
            rests,
            unsettled: stage.unsettled(),
            processes,
            first_calls,
            took_s: stage.world.time.seconds(),
        })
    }

    /// Starts a process.
    async fn start(&self, script: Option<&LifeScript>) -> Result<(Arc<Process>, Orchestrator), Vec<String>> {
        let number = {
            let mut processes = locked(&self.processes);
            *processes += 1;
            *processes
        };
        let failed = |what: String| vec![format!("process {number} does not start: {what}")];
        let process = Process::new(number, script.and_then(|life| life.at), self.world.clone());
        self.world.note(|| format!("process {number} starts"));
        let at = |name: &str| self.directory.join(name);
        let policy = self.settings.policy.clone();
        let parts = Parts {
            storage: Arc::new(Memory::open(&self.disk, Some(process.clone()))),
            artifacts: DiskArtifacts::open(at("artifacts")).await.map_err(|e| failed(e.to_string()))?,
            checkpoints: DiskCheckpoints::open(at("checkpoints")).await.map_err(|e| failed(e.to_string()))?,
            logs: LogFiles::open(at("logs")).await.map_err(|e| failed(e.to_string()))?,
            inputs: InputFiles::open(at("inputs"), policy.input_bytes_max)
                .await
                .map_err(|e| failed(e.to_string()))?,
            installation: Installation::open(&self.directory, self.clock.as_ref())
                .map_err(|e| failed(e.to_string()))?,
            connectors: connectors(&self.world, &process),
            unconfigured: Vec::new(),
            allowed_paths: Vec::new(),
            policy,
            clock: self.clock.clone(),
        };
        let orchestrator = Orchestrator::start(parts).map_err(|error| failed(error.to_string()))?;
        self.present.send_replace(Some((process.clone(), orchestrator.clone())));
        Ok((process, orchestrator))
    }

    /// One process after another, until the faults are over; then one that stays.
    async fn live(self: &Arc<Self>) -> Result<(), Vec<String>> {
        let end = self.began + self.scenario.busy;
        let mut old = Vec::new();
        for life in &self.scenario.lives {
            let (process, _) = self.start(Some(life)).await?;
            tokio::select! {
                () = process.died() => {}
                () = sleep_until((Instant::now() + life.works).min(end)) => {}
                () = self.is_done() => {
                    if process.number == 1 {
                        *locked(&self.first_calls) = process.calls();
                    }
                    return Ok(());
                }
            }
            match life.then {
                Then::Dies(down) => {
                    process.set(Life::Dead);
                    self.present.send_replace(None);
                    sleep_until((Instant::now() + down).min(end)).await;
                }
                Then::Stalls(stalled, beside) => {
                    process.set(Life::Stalls);
                    old.push(process.clone());
                    tokio::spawn(async move {
                        // waits: in simulated time, which jumps
                        sleep(stalled).await;
                        process.set(Life::Runs);
                        // waits: in simulated time, which jumps
                        sleep(beside).await;
                        process.set(Life::Dead);
                    });
                }
            }
        }
        self.start(None).await?;
        tokio::select! {
            () = sleep_until(end) => {}
            () = self.is_done() => {}
        }
        old.iter().for_each(|process| process.set(Life::Dead));
        Ok(())
    }

    /// Resolves when users want nothing more and everything rests: then nothing is waited for.
    async fn is_done(&self) {
        loop {
            // waits: in simulated time, which jumps
            sleep(LOOK_EVERY).await;
            let asked = !locked(&self.disk).jobs.is_empty();
            if asked && self.users_left.load(Ordering::Relaxed) == 0 && self.rests() && self.is_settled() {
                return;
            }
        }
    }

    /// What happens beside: the clock is set, strays appear.
    async fn others(self: Arc<Self>) {
        let clock = async {
            for (at, ms) in &self.scenario.clock {
                sleep_until(self.began + *at).await;
                self.world.note(|| format!("the clock goes wrong by {ms} ms"));
                self.clock.set_wrong(*ms);
            }
        };
        let strays = async {
            for (n, at) in self.scenario.strays.iter().enumerate() {
                sleep_until(self.began + *at).await;
                let mut present = self.present.subscribe();
                let Ok(now) = present.wait_for(Option::is_some).await else { return };
                let installation = now.as_ref().map(|(_, it)| it.installation().clone());
                drop(now);
                if let Some(installation) = installation {
                    let name = OrderName::new(&installation, self.clock.ulid());
                    self.world.plant(&VENDORS[n % 2], name);
                }
            }
        };
        tokio::join!(clock, strays);
    }

    /// A job that was paused and left so is let go on: it would keep its machine for ever, as it should.
    async fn resume_all(&self) {
        for script in &self.scenario.jobs {
            let Ok(id) = format!("job-{}", script.number).parse::<JobId>() else { continue };
            // It may have been paused only later than asked.
            for _ in 0..3 {
                let paused = |row: &crate::memory::Row| row.job.wish() == Wish::Pause;
                if locked(&self.disk).jobs.get(&id).is_some_and(paused) {
                    self.act(&id, script, Act::Resume).await;
                }
            }
        }
    }

    async fn come_to_rest(&self, within: Duration, rests: impl Fn(&Stage) -> bool) -> bool {
        let until = Instant::now() + within;
        while Instant::now() < until {
            if rests(self) {
                return true;
            }
            // waits: in simulated time, which jumps
            sleep(LOOK_EVERY).await;
        }
        false
    }

    /// The machine that a job's last attempt ordered; where `warm`, only while it is kept for another job.
    fn machine_of(&self, id: &JobId, warm: bool) -> Option<OrderName> {
        let disk = locked(&self.disk);
        let job = &disk.jobs.get(id)?.job;
        let attempt = job.attempt().filter(|attempt| attempt.placed_at.is_some())?;
        let (_, entry) = disk.machines.get(&attempt.order)?;
        (!warm || entry.is_warm(self.clock.now())).then(|| attempt.order.clone())
    }

    fn is_settled(&self) -> bool {
        self.unsettled().is_empty()
    }

    /// What the ledger holds, with its job, whose vendor's bill can be read and is not settled.
    fn unsettled(&self) -> Vec<Machine> {
        let disk = locked(&self.disk);
        let open = disk.machines.values().map(|(_, entry)| entry).filter(|entry| {
            let bills = Vendor::named(entry.provider.as_str()).is_some_and(|vendor| vendor.bills);
            let known = entry.attempts.last().is_some_and(|(job, _)| disk.jobs.contains_key(job));
            let rented = entry.provider_job_id.is_some() && entry.placed_at.is_some();
            bills && known && rented && !entry.bill.is_some_and(|bill| bill.settled)
        });
        open.cloned().collect()
    }

    fn rests(&self) -> bool {
        if !self.world.alive().is_empty() {
            return false;
        }
        let disk = locked(&self.disk);
        let open = disk.machines.values().any(|(_, machine)| machine.may_be_billed());
        let rests = |row: &crate::memory::Row| {
            let created = row.job.state().name() == StateName::Created && row.job.wish() == Wish::Rest;
            (row.job.state().name().is_end() || created) && !row.job.may_hold_machine()
        };
        !open && disk.jobs.values().all(rests)
    }
}
