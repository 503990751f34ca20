//! Figures and how they are shown: what was promised, what was measured, what the machine could do at best.

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

use serde::Serialize;

use crate::machine::Machine;

/// A number with its unit.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Amount {
    /// The number.
    pub(crate) value: f64,
    /// What it counts.
    pub(crate) unit: &'static str,
}

impl Amount {
    pub(crate) fn ms(seconds: f64) -> Amount {
        Amount { value: seconds * 1e3, unit: "ms" }
    }

    pub(crate) fn per_second(value: f64) -> Amount {
        Amount { value, unit: "/s" }
    }

    pub(crate) fn mb_per_second(bytes_per_second: f64) -> Amount {
        Amount { value: bytes_per_second / 1e6, unit: "MB/s" }
    }

    pub(crate) fn mb(bytes: f64) -> Amount {
        Amount { value: bytes / 1e6, unit: "MB" }
    }

    pub(crate) fn percent(share: f64) -> Amount {
        Amount { value: share * 100.0, unit: "%" }
    }

    fn show(self) -> String {
        let digits = match self.value.abs() {
            v if v >= 100.0 => 0,
            v if v >= 10.0 => 1,
            v if v >= 1.0 => 2,
            _ => 3,
        };
        format!("{:.digits$} {}", self.value, self.unit)
    }
}

/// What was promised.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    /// In the unit of the figure, itself included.
    AtMost(f64),
    /// In the unit of the figure, itself included.
    AtLeast(f64),
    /// That share of the floor.
    OfFloor(f64),
    /// Nothing: for information.
    Nothing,
}

/// The best that this machine can do, measured in the same run without us.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Floor {
    /// How it was measured.
    pub(crate) what: &'static str,
    /// How much.
    pub(crate) amount: Amount,
}

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// A short name.
    pub(crate) name: String,
    /// What was measured.
    pub(crate) what: String,
    /// What was promised.
    pub(crate) target: Target,
    /// What it is.
    pub(crate) measured: Amount,
    /// What the machine can do.
    pub(crate) floor: Option<Floor>,
    /// What else to know.
    pub(crate) note: String,
}

impl Figure {
    pub(crate) fn new(name: impl Into<String>, what: impl Into<String>, measured: Amount) -> Figure {
        let (name, what) = (name.into(), what.into());
        Figure { name, what, target: Target::Nothing, measured, floor: None, note: String::new() }
    }

    pub(crate) fn target(mut self, target: Target) -> Figure {
        self.target = target;
        self
    }

    pub(crate) fn floor(mut self, what: &'static str, amount: Amount) -> Figure {
        self.floor = Some(Floor { what, amount });
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Figure {
        self.note = note.into();
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.as_ref().map(|floor| self.measured.value / floor.amount.value)
    }

    /// Whether it is as promised; none where nothing was.
    pub(crate) fn met(&self) -> Option<bool> {
        match self.target {
            Target::AtMost(most) => Some(self.measured.value <= most),
            Target::AtLeast(least) => Some(self.measured.value >= least),
            Target::OfFloor(share) => self.ratio().map(|ratio| ratio >= share),
            Target::Nothing => None,
        }
    }

    fn columns(&self) -> [String; 6] {
        let unit = self.measured.unit;
        let target = match self.target {
            Target::AtMost(most) => format!("≤ {most} {unit}"),
            Target::AtLeast(least) => format!("≥ {least} {unit}"),
            Target::OfFloor(share) => format!("≥ {:.0} % of floor", share * 100.0),
            Target::Nothing => "–".to_owned(),
        };
        let verdict = match self.met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        [
            self.name.clone(),
            target,
            self.measured.show(),
            self.floor.as_ref().map_or_else(String::new, |floor| floor.amount.show()),
            self.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            verdict.to_owned(),
        ]
    }
}

const HEADS: [&str; 6] = ["figure", "target", "measured", "floor", "ratio", "verdict"];
const WIDTHS: [usize; 6] = [26, 16, 14, 14, 6, 7];

fn line(columns: &[String; 6]) -> String {
    let cells: Vec<String> = columns
        .iter()
        .zip(WIDTHS)
        .enumerate()
        .map(|(i, (text, width))| match i {
            2..=4 => format!("{text:>width$}"),
            _ => format!("{text:<width$}"),
        })
        .collect();
    cells.join("  ").trim_end().to_owned()
}

/// Writes a line to the standard output. Nobody is left to tell where it is closed.
pub(crate) fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says on the standard error how far it is.
pub(crate) fn note(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Says why nothing was measured.
pub(crate) fn fault(what: &str, error: &dyn Error) -> ExitCode {
    note(&format!("error: {what}: {}", chain(error)));
    ExitCode::FAILURE
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(error) = source {
        text.push_str(&format!(": {error}"));
        source = error.source();
    }
    text
}

/// The table, then what each line means, then the machine.
pub(crate) fn print(figures: &[Figure], faults: &[(String, String)], machine: &Machine) {
    say(&line(&HEADS.map(str::to_owned)));
    figures.iter().for_each(|figure| say(&line(&figure.columns())));
    faults.iter().for_each(|(name, why)| say(&format!("{name:<26}  NOT MEASURED: {why}")));
    say("");
    for Figure { name, what, floor, note, .. } in figures {
        let floor = floor.as_ref().map_or_else(String::new, |floor| format!("; floor: {}", floor.what));
        let note = if note.is_empty() { String::new() } else { format!(" ({note})") };
        say(&format!("{name}: {what}{floor}{note}"));
    }
    say("");
    say(&machine.to_string());
}

/// The same as JSON.
pub(crate) fn json(figures: &[Figure], faults: &[(String, String)], machine: &Machine) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = figures
        .iter()
        .map(|figure| serde_json::json!({"figure": figure, "ratio": figure.ratio(), "met": figure.met()}))
        .collect();
    serde_json::json!({"figures": rows, "faults": faults, "machine": machine})
}
