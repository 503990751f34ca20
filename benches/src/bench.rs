//! One run: the figures one after another, each with the machine to itself.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::args::Args;
use crate::machine::{Machine, load};
use crate::{Fault, figures, floor, table};

/// What every figure is given.
#[derive(Debug)]
pub(crate) struct Bench {
    /// A directory on the disk that is measured; removed at the end.
    scratch: tempfile::TempDir,
    /// Whether to do what takes long.
    pub(crate) full: bool,
    /// The product's program.
    pub(crate) product: PathBuf,
    /// This program, which is also what jobs run (see `training`).
    pub(crate) training: PathBuf,
}

/// Longest time for one subject.
const SUBJECT_MAX: Duration = Duration::from_secs(180);
/// The same with `--full`.
const SUBJECT_MAX_FULL: Duration = Duration::from_secs(1800);
/// Files and sockets that may be open: a thousand clients, both ends in one process.
const OPEN_FILES: u64 = 8192;

impl Bench {
    fn new(args: &Args) -> Result<Bench, Fault> {
        let program = std::env::current_exe()?;
        let beside: PathBuf = program.parent().map(Path::to_owned).ok_or("this program lies nowhere")?;
        let scratch =
            tempfile::Builder::new().prefix("benches-").tempdir_in(args.dir.as_ref().unwrap_or(&beside))?;
        let product = crate::product::link(&program, scratch.path())?;
        Ok(Bench { scratch, full: args.full, product, training: program })
    }

    /// The directory to work in.
    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    /// A fresh directory, removed when it is dropped.
    pub(crate) fn fresh(&self) -> Result<tempfile::TempDir, Fault> {
        Ok(tempfile::tempdir_in(self.dir())?)
    }
}

/// Measures, prints, and says whether everything is as promised.
pub(crate) async fn run(args: Args) -> Result<bool, Fault> {
    let (begun, load_before) = (Instant::now(), load());
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(most), most)?;
    let bench = Bench::new(&args)?;
    let subject_max = if args.full { SUBJECT_MAX_FULL } else { SUBJECT_MAX };
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| name.starts_with(only));
    let (mut all, mut faults) = (Vec::new(), Vec::new());
    for name in figures::NAMES.into_iter().filter(|name| wanted(name)) {
        table::note(&format!("measuring {name} …"));
        let from = Instant::now();
        match tokio::time::timeout(subject_max, figures::measure(name, &bench)).await {
            Ok(Ok(figures)) => all.extend(figures),
            Err(_) => faults.push((name.to_owned(), format!("took longer than {} s", subject_max.as_secs()))),
            Ok(Err(error)) => faults.push((name.to_owned(), table::chain(error.as_ref()))),
        }
        table::note(&format!("measured {name} in {:.1} s", from.elapsed().as_secs_f64()));
    }
    let machine = Machine::new(load_before, floor::fsync(bench.dir())?, begun.elapsed().as_secs());
    table::print(&all, &faults, &machine);
    if let Some(file) = &args.json {
        std::fs::write(file, format!("{:#}\n", table::json(&all, &faults, &machine)))?;
    }
    Ok(faults.is_empty() && all.iter().all(|figure| figure.met() != Some(false)))
}
