//! tqdm's progress bars: `Steps:  12%|█▏        | 60/500 [00:10<01:13,  6.00it/s, loss=1.2]`.

/// Descriptions that a bar over optimizer steps has. Others (`Map`, `Downloading shards`, `Loading weights`,
/// `Generating train split`) count something else. Hugging Face's `Trainer` gives its bars none.
const TRAINING: [&str; 8] =
    ["", "step", "steps", "train", "training", "training steps", "training progress", "global step"];
/// Units of a bar that counts steps; downloads count bytes, `datasets` counts examples.
const UNITS: [&str; 6] = ["it/s", "s/it", "step/s", "s/step", "steps/s", "s/steps"];

/// A bar that counts whole iterations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bar<'a> {
    /// What stands before it.
    pub(super) description: &'a str,
    /// How many are done.
    pub(super) step: u64,
    /// How many there will be.
    pub(super) total: u64,
    /// Seconds left, where it knows.
    pub(super) eta_s: Option<u64>,
}

impl Bar<'_> {
    /// Whether it may be the training's.
    pub(super) fn may_be_training(&self) -> bool {
        let description = self.description.trim().trim_end_matches(':');
        TRAINING.iter().any(|known| description.eq_ignore_ascii_case(known))
    }
}

/// The bar whose `%|` stands at `percent`, with the index after its end. `text` begins where what came before ended.
pub(super) fn parse(text: &str, percent: usize) -> Option<(Bar<'_>, usize)> {
    let before = text[..percent].trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let after_bar = percent + 2 + text[percent + 2..].find('|')? + 1;
    let rest = &text[after_bar..];
    let open = rest.find('[')?;
    let end = after_bar + open + rest[open..].find(']')? + 1;
    let (done, total) = rest[..open].trim().split_once('/')?;
    let timing = &text[after_bar + open + 1..end - 1];
    let (_, right) = timing.split_once('<')?;
    let mut parts = right.split(',').map(str::trim);
    let (remaining, rate) = (parts.next()?, parts.next()?);
    if !UNITS.iter().any(|unit| rate.ends_with(unit)) {
        return None;
    }
    let bar = Bar {
        description: description(before),
        step: done.trim().parse().ok()?,
        total: total.trim().parse().ok()?,
        eta_s: clock(remaining),
    };
    (bar.total > 0 && bar.step <= bar.total).then_some((bar, end))
}

/// What stands before the bar, less the marks that launchers put before every line: `[rank0]:`, `(worker pid=7)`.
fn description(before: &str) -> &str {
    let text = before.trim();
    match text.rfind([']', ')']) {
        Some(mark) if text.starts_with(['[', '(']) => text[mark + 1..].trim_start_matches(':').trim(),
        Some(_) | None => text,
    }
}

/// `01:13`, `1:02:03`; tqdm writes `?` where it does not know. Python's `timedelta` adds `2 days, `.
pub(in crate::watch) fn clock(text: &str) -> Option<u64> {
    let (days, clock) = match text.split_once(", ") {
        Some((days, clock)) => (days.split(' ').next()?.parse::<u64>().ok()?, clock),
        None => (0, text),
    };
    let mut seconds: u64 = 0;
    let mut parts = 0;
    for part in clock.trim().split(':') {
        seconds = seconds.checked_mul(60)?.checked_add(part.parse().ok()?)?;
        parts += 1;
    }
    if (2..=3).contains(&parts) { days.checked_mul(86_400)?.checked_add(seconds) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<(&str, u64, u64, Option<u64>)>) {
        let bar = text.find("%|").and_then(|at| parse(text, at)).map(|(bar, _)| bar);
        assert_eq!(bar.map(|bar| (bar.description, bar.step, bar.total, bar.eta_s)), expected, "{text}");
    }

    #[test]
    fn bars_as_tqdm_writes_them() {
        check(" 12%|█▏        | 60/500 [00:10<01:13,  6.00it/s]", Some(("", 60, 500, Some(73))));
        check("  0%|          | 0/500 [00:00<?, ?it/s]", Some(("", 0, 500, None)));
        check(
            "100%|██████████| 111/111 [06:41<00:00,  3.38s/it]Unsloth: Restored",
            Some(("", 111, 111, Some(0))),
        );
        check(" 50%|#####     | 5/10 [1:00:00<1:02:03, 720.00s/it]", Some(("", 5, 10, Some(3723))));
        check(
            "Steps:  12%|█▏  | 60/500 [00:10<01:13,  6.00it/s, loss=0.1]",
            Some(("Steps:", 60, 500, Some(73))),
        );
        check("Map: 100%|████| 1000/1000 [00:00<00:00, 9000.00 examples/s]", None);
        check("model.safetensors:  50%|████ | 1.2G/2.4G [00:10<00:10, 110MB/s]", None);
        check(
            "Writing model shards: 100%|██| 1/1 [00:00<00:00,  2.46it/s]",
            Some(("Writing model shards:", 1, 1, Some(0))),
        );
        check("[rank0]:  12%|█▏  | 60/500 [00:10<01:13,  6.00it/s]", Some(("", 60, 500, Some(73))));
        check("90%| of nothing", None);
        check("%|", None);
    }

    #[test]
    fn descriptions_tell_what_is_counted() {
        for (text, expected) in
            [("", true), ("Steps:", true), ("Training", true), ("Map", false), ("Epoch 1", false)]
        {
            assert_eq!(
                Bar { description: text, step: 0, total: 1, eta_s: None }.may_be_training(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn clocks() {
        for (text, expected) in [
            ("0:01:23", Some(83)),
            ("2 days, 1:00:00", Some(176_400)),
            ("59", None),
            ("?", None),
            ("1:2:3:4", None),
        ] {
            assert_eq!(clock(text), expected, "{text}");
        }
    }
}
