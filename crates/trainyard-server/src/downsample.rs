//! Fewer points of a series that still look like it: the first, the last and the extremes stay.

use std::collections::{BTreeMap, BTreeSet};

use trainyard_domain::MetricPoint;

/// Picks at most `max` of the points, in their order. Points that carry different metrics (training, evaluation, the
/// machine) are thinned apart, each kind in proportion. Of each kind the first and last point stay, then each metric's
/// least and greatest, then in each of equal stretches the least and greatest of its main metric.
pub(crate) fn pick<'a>(points: impl Iterator<Item = &'a MetricPoint> + Clone, max: usize) -> Vec<usize> {
    let total = points.clone().count();
    if total <= max {
        return (0..total).collect();
    }
    let mut kinds: BTreeMap<Vec<&str>, Vec<(usize, &MetricPoint)>> = BTreeMap::new();
    for (i, point) in points.enumerate() {
        let names = point.values.keys().map(String::as_str).collect();
        kinds.entry(names).or_default().push((i, point));
    }
    let mut kept = BTreeSet::new();
    let mut left = max;
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    // The rarest first: what it cannot use goes to the others.
    kinds.sort_by_key(|(_, points)| points.len());
    let mut unseen = total;
    for (names, points) in &kinds {
        let share = (left * points.len()).div_ceil(unseen.max(1)).min(left);
        let picked = pick_of_kind(names, points, share);
        left -= picked.len();
        unseen -= points.len();
        kept.extend(picked);
    }
    kept.into_iter().collect()
}

fn pick_of_kind(names: &[&str], points: &[(usize, &MetricPoint)], max: usize) -> BTreeSet<usize> {
    if points.len() <= max {
        return points.iter().map(|(i, _)| *i).collect();
    }
    let mut kept = BTreeSet::new();
    let mut keep = |i: Option<usize>| {
        if let Some(i) = i
            && kept.len() < max
        {
            kept.insert(i);
        }
        kept.len() < max
    };
    let main = names.iter().find(|name| **name == "loss").or(names.first()).copied().unwrap_or("");
    keep(points.last().map(|(i, _)| *i));
    keep(points.first().map(|(i, _)| *i));
    let others = names.iter().copied().filter(|name| *name != main);
    for name in std::iter::once(main).chain(others) {
        for extreme in extremes(name, points) {
            keep(extreme);
        }
    }
    // Finer and finer stretches, until the room is used: each gives two points at most.
    let mut stretches = (max / 2).max(1);
    let mut room = true;
    while room && stretches <= points.len() {
        for k in 0..stretches {
            let stretch = &points[k * points.len() / stretches..(k + 1) * points.len() / stretches];
            room = extremes(main, stretch).into_iter().all(&mut keep);
            if !room {
                break;
            }
        }
        stretches *= 2;
    }
    kept
}

/// Where the least and the greatest value of that name are, and the first that is not finite.
fn extremes(name: &str, points: &[(usize, &MetricPoint)]) -> [Option<usize>; 3] {
    let values = points.iter().filter_map(|(i, point)| Some((*i, point.get(name)?)));
    let finite = values.clone().filter(|(_, value)| value.is_finite());
    let least = finite.clone().min_by(|a, b| a.1.total_cmp(&b.1));
    let greatest = finite.max_by(|a, b| a.1.total_cmp(&b.1));
    let broken = values.clone().find(|(_, value)| !value.is_finite());
    [least, greatest, broken].map(|found| found.map(|(i, _)| i))
}

#[cfg(test)]
mod tests {
    use trainyard_domain::MetricValue;

    use super::*;

    fn point(step: u64, name: &str, value: f64) -> MetricPoint {
        let values = BTreeMap::from([(name.to_owned(), MetricValue(value))]);
        MetricPoint { step: Some(step), values, ..MetricPoint::default() }
    }

    /// A slow wave with one spike up, one down, and one NaN.
    fn series() -> Vec<MetricPoint> {
        let wave = |i: u64| match i {
            3_333 => 100.0,
            6_666 => -100.0,
            8_888 => f64::NAN,
            i => (i as f64 / 500.0).sin(),
        };
        (0..10_000).map(|i| point(i, "loss", wave(i))).collect()
    }

    #[test]
    fn ends_and_extremes_stay() {
        let series = series();
        for max in [5, 6, 17, 100, 999] {
            let kept = pick(series.iter(), max);
            assert!(kept.len() <= max, "{} of {max}", kept.len());
            assert!(kept.len() * 10 >= max * 8, "only {} of {max} used", kept.len());
            assert!(kept.is_sorted());
            for needed in [0, 3_333, 6_666, 8_888, 9_999] {
                assert!(kept.contains(&needed), "{needed} is missing of {max}");
            }
        }
    }

    #[test]
    fn few_points_all_stay() {
        let series = series();
        assert_eq!(pick(series[..40].iter(), 40), (0..40).collect::<Vec<_>>());
        assert_eq!(pick(series.iter(), 1), vec![9_999]);
        assert!(pick(std::iter::empty(), 5).is_empty());
    }

    #[test]
    fn a_rare_kind_is_not_drowned() {
        let mut series = series();
        for i in 0..10 {
            series.insert(1_000 * i, point(i as u64, "eval_loss", i as f64));
        }
        let kept = pick(series.iter(), 100);
        assert!(kept.len() <= 100);
        assert!(kept.iter().any(|i| series[*i].get("eval_loss").is_some()));
    }
}
