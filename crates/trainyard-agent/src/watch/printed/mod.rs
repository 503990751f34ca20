//! What Hugging Face's `Trainer` prints: a dict at every logging step, without the step, and tqdm's bar, which has it.
//!
//! Promises: a pure function of the segments fed, no input makes it fail, time linear to the segment. A segment is what
//! stands between carriage returns and line ends; a bar redrawn in place is one as well.
//!
//! The rules, kept simple:
//! - **A dict** counts when a name in it says so (`loss`, `…_loss`, `eval_…`, `train_runtime`, `reward…`).
//! - **Its step** is that of the training's bar redrawn right after it (`tqdm.write` redraws it with the exact step),
//!   else, where no bar follows in time, of the one before. Dicts that follow each other with no bar between come from
//!   a buffer (Python's, without `PYTHONUNBUFFERED`): no step is better than a wrong one. Before any bar there is none
//!   either. The same dict twice in a row (the trainer's, and the program's own `print` of it) counts once.
//! - **The training's bar** is the first one over iterations with no description, or one that says `Steps` or
//!   `Training`. Bars with another total are evaluations or loops of the program, and are left alone, unless the
//!   first dict with a `loss` is followed by one of them: then that is the training's, and stays it until the summary
//!   dict (`train_runtime`) is seen. Where an exact source knows how many steps there will be, only a bar with that
//!   total is the training's. It never goes back, except to begin anew after the summary.

mod bar;
mod dict;

use trainyard_domain::{MetricPoint, Progress};

use super::json;
use bar::Bar;
pub(super) use bar::clock;

/// Longest segment that is looked at, in bytes; longer ones are cut.
pub(super) const SEGMENT_BYTES_MAX: usize = 8 * 1024;
/// Most bars and dicts looked for in one segment.
const ITEMS_MAX: usize = 32;

/// What was read from the output.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Printed {
    /// A dict.
    Point(MetricPoint),
    /// A bar.
    Progress(Progress),
}

/// Whether a segment may hold anything for [`Parser::feed`]; cheap, for every line of a chatty program.
pub(super) fn may_tell(segment: &str) -> bool {
    segment.contains("%|") || (segment.contains('{') && (segment.contains("':") || segment.contains("\":")))
}

/// The state between segments.
#[derive(Debug, Default)]
pub(super) struct Parser {
    training: Option<Training>,
    /// A dict that waits for the bar after it.
    pending: Option<Pending>,
    /// The dict before, while no bar came after it: another one then comes from a buffer.
    last: Option<MetricPoint>,
    /// How many steps there will be, from an exact source.
    total: Option<u64>,
    told: Option<Progress>,
}

/// The training's bar.
#[derive(Debug, Clone, Copy)]
struct Training {
    total: u64,
    step: u64,
    /// A dict with a `loss` was followed by it.
    confirmed: bool,
    /// The summary was printed: the next bar from 0 begins anew.
    over: bool,
}

#[derive(Debug)]
struct Pending {
    point: MetricPoint,
    is_loss: bool,
    /// No other dict came right before it.
    alone: bool,
}

enum Item<'a> {
    Bar(Bar<'a>),
    Dict(MetricPoint),
}

impl Parser {
    /// Reads one segment.
    pub(super) fn feed(&mut self, segment: &str) -> Vec<Printed> {
        let mut out = Vec::new();
        for item in items(&without_colours(cut(segment))) {
            match item {
                Item::Bar(bar) => self.bar(&bar, &mut out),
                Item::Dict(point) => self.dict(point, &mut out),
            }
        }
        out
    }

    /// Whether a dict waits for its bar. Whoever feeds calls [`Parser::flush`] when none came in a moment.
    pub(super) fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Tells a waiting dict with the step of the bar before it.
    pub(super) fn flush(&mut self) -> Option<Printed> {
        let pending = self.pending.take()?;
        self.last = None;
        let step = self.training.filter(|_| pending.alone).map(|training| training.step);
        Some(Printed::Point(MetricPoint { step, ..pending.point }))
    }

    /// An exact source knows how many steps there will be.
    pub(super) fn expect_total(&mut self, total: u64) {
        if self.total.replace(total) != Some(total) && self.training.is_some_and(|it| it.total != total) {
            self.training = None;
        }
    }

    fn dict(&mut self, point: MetricPoint, out: &mut Vec<Printed>) {
        if self.last.as_ref().is_some_and(|last| is_same(last, &point)) {
            return;
        }
        let alone = self.last.replace(point.clone()).is_none();
        if let Some(before) = self.pending.take() {
            out.push(Printed::Point(before.point));
        }
        let is_loss = point.values.contains_key("loss");
        if let (true, Some(training)) = (point.values.contains_key("train_runtime"), &mut self.training) {
            training.over = true;
            training.confirmed = false;
        }
        if point.step.is_some() || self.training.is_none() {
            out.push(Printed::Point(point));
        } else {
            self.pending = Some(Pending { point, is_loss, alone });
        }
    }

    fn bar(&mut self, bar: &Bar<'_>, out: &mut Vec<Printed>) {
        self.last = None;
        let known_as_other = self.total.is_some_and(|total| total != bar.total);
        if known_as_other || !bar.may_be_training() {
            return;
        }
        let begins_anew =
            |training: Training| training.over && training.total == bar.total && bar.step < training.step;
        if self.training.is_some_and(begins_anew) {
            out.extend(self.flush());
        }
        // Nothing is logged at step 0, so a bar there did not come after the dict.
        let follows_loss =
            bar.step > 0 && self.pending.as_ref().is_some_and(|pending| pending.is_loss && pending.alone);
        if !self.take_in(bar, follows_loss) {
            return;
        }
        if let Some(pending) = self.pending.take() {
            let step = Some(bar.step).filter(|_| pending.alone);
            out.push(Printed::Point(MetricPoint { step, ..pending.point }));
        }
        let progress = Progress {
            fraction: Some(bar.step as f64 / bar.total as f64),
            eta_s: bar.eta_s,
            step: Some(bar.step),
            total_steps: Some(bar.total),
        };
        if self.told.replace(progress) != Some(progress) {
            out.push(Printed::Progress(progress));
        }
    }

    /// Whether the bar is the training's.
    fn take_in(&mut self, bar: &Bar<'_>, follows_loss: bool) -> bool {
        let fresh = Training { total: bar.total, step: bar.step, confirmed: follows_loss, over: false };
        let Some(training) = &mut self.training else {
            self.training = Some(fresh);
            return true;
        };
        if training.total != bar.total {
            if follows_loss && !training.confirmed {
                *training = fresh;
                return true;
            }
            return false;
        }
        if bar.step < training.step && !training.over {
            return false;
        }
        training.over = training.over && bar.step >= training.step;
        training.step = bar.step;
        training.confirmed |= follows_loss;
        true
    }
}

/// Whether the second is the first once more: all names, and all values to four digits, the epoch among them.
fn is_same(first: &MetricPoint, second: &MetricPoint) -> bool {
    first.values.contains_key("epoch")
        && first.values.len() == second.values.len()
        && first
            .values
            .iter()
            .zip(&second.values)
            .all(|(a, b)| a.0 == b.0 && json::digits(a.1.0) == json::digits(b.1.0))
}

/// Bars and dicts in the order in which they stand.
fn items(text: &str) -> Vec<Item<'_>> {
    let (mut out, mut at) = (Vec::new(), 0);
    for _ in 0..ITEMS_MAX {
        let rest = &text[at..];
        let (bar, dict) = (rest.find("%|"), rest.find('{'));
        let Some(next) = [bar, dict].into_iter().flatten().min() else { break };
        let (item, end) = if bar == Some(next) {
            let parsed = bar::parse(rest, next);
            (parsed.map(|(bar, _)| Item::Bar(bar)), parsed.map_or(next + 2, |(_, end)| end))
        } else {
            let parsed = dict::parse(&rest[next..]);
            let end = next + parsed.as_ref().map_or(1, |(_, length)| *length);
            (parsed.and_then(|(numbers, _)| logged(numbers)).map(Item::Dict), end)
        };
        out.extend(item);
        at += end;
    }
    out
}

/// The point in a dict, if it is one that a trainer logs.
fn logged(numbers: Vec<(String, f64)>) -> Option<MetricPoint> {
    let says_so = |name: &str| {
        name == "loss"
            || name == "train_runtime"
            || name.ends_with("_loss")
            || name.starts_with("eval_")
            || name.starts_with("reward")
    };
    numbers.iter().any(|(name, _)| says_so(name)).then(|| json::point_of(numbers))
}

fn cut(segment: &str) -> &str {
    &segment[..segment.floor_char_boundary(SEGMENT_BYTES_MAX)]
}

/// The text without terminal sequences (`ESC [ … letter`), which bars and loggers write.
fn without_colours(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains('\x1b') {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\x1b' {
            out.push(c);
        } else if chars.next() == Some('[') {
            let _letter = chars.find(|c| c.is_ascii_alphabetic());
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(printed: Vec<Printed>) -> Vec<String> {
        let number = |value: Option<u64>| value.map_or("-".to_owned(), |value| value.to_string());
        let line = |printed| match printed {
            Printed::Point(point) => {
                let values: Vec<_> =
                    point.values.iter().map(|(name, value)| format!("{name}={}", value.0)).collect();
                format!("@{} {}", number(point.step), values.join(" "))
            }
            Printed::Progress(p) => {
                format!("{}/{} eta {}", number(p.step), number(p.total_steps), number(p.eta_s))
            }
        };
        printed.into_iter().map(line).collect()
    }

    /// Feeds an output as the pipe gives it and flushes at its end.
    fn check(output: &str, expected: &[&str]) {
        let mut parser = Parser::default();
        let mut shown = Vec::new();
        for segment in output.split(['\r', '\n']) {
            assert!(may_tell(segment) || parser.feed(segment).is_empty(), "{segment}");
            shown.extend(parser.feed(segment));
        }
        shown.extend(parser.flush());
        assert_eq!(show(shown), expected, "{output}");
    }

    #[test]
    fn dict_takes_the_step_of_the_bar_redrawn_after_it() {
        check(
            concat!(
                "\r  0%|          | 0/500 [00:00<?, ?it/s]",
                "\r  2%|▏         | 9/500 [00:01<01:21,  6.00it/s]",
                "\r                                               \r",
                "{'loss': 2.345, 'grad_norm': 1.2, 'learning_rate': 0.0002, 'epoch': 0.07}\n",
                "\r  2%|▏         | 10/500 [00:01<01:21,  6.00it/s]",
            ),
            &[
                "0/500 eta -",
                "9/500 eta 81",
                "@10 epoch=0.07 grad_norm=1.2 learning_rate=0.0002 loss=2.345",
                "10/500 eta 81",
            ],
        );
    }

    #[test]
    fn evaluations_and_downloads_are_not_the_training() {
        check(
            concat!(
                "Map: 100%|████| 1000/1000 [00:00<00:00, 9000.00 examples/s]\n",
                "Loading checkpoint shards:  50%|██  | 1/2 [00:01<00:01,  1.00it/s]\n",
                "\r 20%|██ | 10/50 [00:01<00:05,  6.00it/s]{'loss': '1', 'epoch': '0.2'}",
                "\r 20%|██ | 10/50 [00:01<00:05,  6.00it/s]",
                "\r  0%|   | 0/7 [00:00<?, ?it/s]\r 29%|██  | 2/7 [00:00<00:01,  6.00it/s]",
                "\r {'eval_loss': '2.5', 'eval_runtime': '3.5', 'epoch': '0.2'}\n",
                "\r 20%|██ | 10/50 [00:03<00:05,  6.00it/s]",
            ),
            &["10/50 eta 5", "@10 epoch=0.2 loss=1", "@10 epoch=0.2 eval_loss=2.5 eval_runtime=3.5"],
        );
    }

    #[test]
    fn bar_that_follows_the_first_loss_is_the_training_one() {
        check(
            concat!(
                "\r 50%|█  | 4/8 [00:01<00:01,  6.00it/s]\r100%|███| 8/8 [00:02<00:00,  6.00it/s]\n",
                "\r  0%|   | 0/50 [00:00<?, ?it/s]{'loss': 1.5}\r  2%|   | 1/50 [00:01<00:49,  1.00it/s]",
                "\r 50%|█  | 4/8 [00:01<00:01,  6.00it/s]\r  4%|   | 2/50 [00:02<00:48,  1.00it/s]",
            ),
            &["4/8 eta 1", "8/8 eta 0", "@1 loss=1.5", "1/50 eta 49", "2/50 eta 48"],
        );
    }

    #[test]
    fn summary_ends_a_training_and_another_may_begin() {
        check(
            concat!(
                "\r100%|███| 3/3 [00:02<00:00,  6.00it/s]{'loss': '2'}\r100%|███| 3/3 [00:02<00:00,  6.00it/s]",
                "{'train_runtime': '70.47', 'train_samples_per_second': '1.277', 'train_loss': '2.286', 'epoch': '1'}\n",
                "\r100%|███| 3/3 [00:02<00:00,  6.00it/s]\n",
                "\r100%|███| 9/9 [00:02<00:00,  6.00it/s]\n{'eval_loss': '4'}\n",
                "\r  0%|   | 0/3 [00:00<?, ?it/s]",
            ),
            &[
                "3/3 eta 0",
                "@3 loss=2",
                "@3 epoch=1 train_loss=2.286 train_runtime=70.47 train_samples_per_second=1.277",
                "@3 eval_loss=4",
                "0/3 eta -",
            ],
        );
    }

    #[test]
    fn without_bars_there_is_no_step() {
        check(
            "INFO:root:{'loss': nan, 'grad_norm': inf, 'epoch': 0.5}\n[rank=0] {'loss': 1, 'step': 7}\n",
            &["@- epoch=0.5 grad_norm=inf loss=NaN", "@7 loss=1"],
        );
    }

    #[test]
    fn dicts_from_a_buffer_get_no_step_but_the_last() {
        check(
            "\r 20%|██ | 10/50 [00:01<00:05,  6.00it/s]\n{'loss': 1}\n{'loss': 2}\n{'loss': 3}\n",
            &["10/50 eta 5", "@- loss=1", "@- loss=2", "@- loss=3"],
        );
    }

    #[test]
    fn evaluation_bar_after_a_buffer_is_not_the_training() {
        check(
            concat!(
                "\r 20%|██ | 10/50 [00:01<00:05,  6.00it/s]\n{'loss': 1}\n{'loss': 2}\n",
                "\r  0%|   | 0/8 [00:00<?, ?it/s]\r100%|███| 8/8 [00:01<00:00,  6.00it/s]",
                "{'loss': 3}\r  0%|   | 0/8 [00:00<?, ?it/s]",
            ),
            &["10/50 eta 5", "@- loss=1", "@- loss=2", "@10 loss=3"],
        );
    }

    #[test]
    fn total_known_exactly_decides() {
        let mut parser = Parser::default();
        parser.feed("\r 50%|█  | 4/8 [00:01<00:01,  6.00it/s]");
        parser.expect_total(50);
        assert_eq!(parser.feed("\r100%|███| 8/8 [00:01<00:01,  6.00it/s]{'loss': 1.5}\r100%|███| 8/8 [00:01<00:00,  6.00it/s]").len(), 1);
        assert_eq!(show(parser.feed("\r  2%|   | 1/50 [00:01<00:49,  1.00it/s]")), ["1/50 eta 49"]);
    }

    #[test]
    fn same_dict_printed_twice_counts_once() {
        check(
            "{'eval_loss': '4.16', 'epoch': '0.6'}\n{'eval_loss': 4.16046142578125, 'epoch': 0.6}\n{'loss': 0}\n{'loss': 0}",
            &["@- epoch=0.6 eval_loss=4.16", "@- loss=0", "@- loss=0"],
        );
    }

    #[test]
    fn other_dicts_and_colours() {
        check("{'lr': 1, 'epoch': 3}\n{'loss': 'mse'}\n{}\nprogress {'a': 1}", &[]);
        check("\x1b[32m{'loss': \x1b[0m1}\x1b[A\n", &["@- loss=1"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_an_answer(text in "\\PC*", more in "[{}'\":,0-9%|/<>\\[\\]() a-z\u{1b}█\\\\-]{0,80}") {
            let mut parser = Parser::default();
            let _ = (may_tell(&text), parser.feed(&text), parser.feed(&more), parser.flush());
        }

        #[test]
        fn any_bytes_give_an_answer(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Parser::default().feed(&String::from_utf8_lossy(&bytes));
        }
    }
}
