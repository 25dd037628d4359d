//! The course of a stage: when it came by which mark.

use serde::{Deserialize, Serialize};

/// Something that each run of a stage comes by: the beginning of a part, a percentage of the installer's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// What.
    pub name: String,
    /// Seconds after the stage's beginning.
    pub at: f64,
}

/// One run of a stage, or what is typical of several.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Course {
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What it came by, in order.
    pub marks: Vec<Mark>,
}

impl Course {
    /// When it came by `name`. The installer leaves out percentages that it passes in a moment: such a one came just before
    /// the next that was shown.
    pub fn place(&self, name: &str) -> Option<f64> {
        if let Some(mark) = self.marks.iter().find(|mark| mark.name == name) {
            return Some(mark.at);
        }
        let wanted = percentage(name)?;
        let shown = || {
            let shown = self.marks.iter();
            shown.filter_map(|mark| Some((percentage(&mark.name)?, mark.at)))
        };
        // Before the first of them nothing is known.
        shown().find(|(percent, _)| *percent < wanted)?;
        shown()
            .filter(|(percent, _)| *percent > wanted)
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, at)| at)
    }

    /// Whether it can have happened: what is read from a file may be anything.
    pub fn is_sound(&self) -> bool {
        let is_within = |mark: &Mark| (0.0..=self.seconds).contains(&mark.at);
        self.seconds.is_finite() && self.seconds > 0.0 && self.marks.iter().all(is_within)
    }

    /// What is typical of `courses`: the median of their lengths, and for each mark the median of its place in them.
    /// `None` of none.
    pub fn typical(courses: &[&Self]) -> Option<Self> {
        let seconds = median(courses.iter().map(|course| course.seconds).collect())?;
        let newest = courses.last()?;
        let place = |mark: &Mark| {
            let places = courses
                .iter()
                .filter_map(|course| Some(course.place(&mark.name)? / course.seconds));
            let at = seconds * median(places.collect())?;
            let name = mark.name.clone();
            Some(Mark { name, at })
        };
        let mut marks: Vec<Mark> = newest.marks.iter().filter_map(place).collect();
        marks.sort_by(|a, b| a.at.total_cmp(&b.at));
        Some(Self { seconds, marks })
    }
}

/// The number of a mark like `14%`.
fn percentage(name: &str) -> Option<f64> {
    name.strip_suffix('%')?
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// The middle one; of an even number the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    let upper = values.len() / 2;
    Some(f64::midpoint(*values.get(middle)?, *values.get(upper)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(seconds: f64, marks: &[(&str, f64)]) -> Course {
        let marks = marks.iter().map(|(name, at)| Mark {
            name: (*name).to_owned(),
            at: *at,
        });
        Course {
            seconds,
            marks: marks.collect(),
        }
    }

    #[test]
    fn the_middle_counts_and_not_the_odd_one() {
        let runs = [
            course(100.0, &[("a", 10.0), ("b", 50.0)]),
            course(9000.0, &[("a", 8000.0), ("b", 8500.0)]),
            course(120.0, &[("a", 12.0), ("b", 66.0)]),
        ];
        let typical = Course::typical(&runs.iter().collect::<Vec<_>>()).unwrap();
        assert_eq!(typical, course(120.0, &[("a", 12.0), ("b", 66.0)]));
        assert_eq!(Course::typical(&[]), None);
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn a_percentage_that_was_left_out_came_just_before_the_next() {
        let seen = course(100.0, &[("10%", 20.0), ("packages", 30.0), ("20%", 60.0), ("x%", 70.0)]);
        for (name, at) in [
            ("10%", Some(20.0)),
            ("15%", Some(60.0)),
            ("packages", Some(30.0)),
            ("kernel", None),
        ] {
            assert_eq!(seen.place(name), at, "{name}");
        }
        for outside in ["9%", "21%", "inf%", "NaN%"] {
            assert_eq!(seen.place(outside), None, "{outside}");
        }
    }

    #[test]
    fn what_cannot_have_happened_is_told() {
        assert!(course(10.0, &[("a", 10.0)]).is_sound());
        for wrong in [
            course(0.0, &[]),
            course(-1.0, &[]),
            course(f64::INFINITY, &[]),
            course(10.0, &[("a", 11.0)]),
            course(10.0, &[("a", f64::NAN)]),
        ] {
            assert!(!wrong.is_sound(), "{wrong:?}");
        }
    }
}
