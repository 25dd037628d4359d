//! What stages typically take where this host has not run them yet.

use super::course::{Course, Mark};
use crate::event::Stage;

/// Emulated on two quiet cores with the reference project and guests of 4 GiB, 29 November 2026. The course of the installation
/// is the mean of the first two in `tests/fixtures/timings/courses.json`, a quiet and a busy one.
const INSTALL: (f64, &[(&str, f64)]) = (
    226.9,
    &[
        ("0%", 5.6),
        ("medium", 12.5),
        ("2%", 12.7),
        ("4%", 13.4),
        ("5%", 13.8),
        ("components", 15.2),
        ("6%", 18.1),
        ("7%", 20.9),
        ("8%", 21.9),
        ("9%", 22.2),
        ("hardware", 24.4),
        ("partitioning", 24.6),
        ("10%", 29.6),
        ("11%", 31.2),
        ("12%", 39.8),
        ("14%", 41.3),
        ("base system", 41.4),
        ("18%", 72.7),
        ("26%", 72.8),
        ("29%", 75.9),
        ("36%", 82.1),
        ("44%", 105.4),
        ("packages", 122.7),
        ("52%", 137.9),
        ("kernel", 150.4),
        ("packages 2", 157.8),
        ("59%", 164.2),
        ("configure", 164.4),
        ("kernel 2", 193.8),
        ("configure 2", 193.9),
        ("67%", 205.4),
        ("84%", 207.1),
        ("90%", 207.1),
        ("finish", 208.0),
        ("boot loader", 208.8),
        ("91%", 223.9),
        ("finish 2", 224.1),
    ],
);
const DOCKER: (f64, &[(&str, f64)]) = (
    107.9,
    &[
        ("prepare", 35.2),
        ("package lists", 37.9),
        ("download", 46.0),
        ("unpack", 54.0),
        ("configure", 75.6),
        ("verify", 95.6),
        ("end", 100.4),
    ],
);
const ACCOUNT: (f64, &[(&str, f64)]) = (5.1, &[("user", 1.5), ("end", 2.4)]);
const PROJECT: (f64, &[(&str, f64)]) = (132.6, &[("copy", 4.3), ("make", 4.4), ("site", 121.4), ("end", 125.0)]);
const VERIFY: (f64, &[(&str, f64)]) = (
    7.3,
    &[
        ("site", 2.2),
        ("checking the machine", 3.2),
        ("checks", 3.7),
        ("moment", 5.5),
    ],
);

/// How much faster the host's own processor is taken to be than an emulated one. A guess, which the first marks of the
/// first run correct.
const NATIVE: f64 = 0.1;

/// The typical course of a stage under an accelerator; `None` of a stage whose time depends on the network alone, or that
/// is in no plan.
pub fn course(stage: Stage, accelerator: &str) -> Option<Course> {
    let (seconds, marks) = match stage {
        Stage::Install => INSTALL,
        Stage::Docker => DOCKER,
        Stage::Account => ACCOUNT,
        Stage::Project => PROJECT,
        Stage::Verify => VERIFY,
        Stage::Media | Stage::Seal | Stage::Export | Stage::Import => return None,
    };
    let pace = if accelerator == "tcg" { 1.0 } else { NATIVE };
    let marks = marks.iter().map(|(name, at)| Mark {
        name: (*name).to_owned(),
        at: at * pace,
    });
    Some(Course {
        seconds: seconds * pace,
        marks: marks.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for stage in Stage::ALL {
            for accelerator in ["tcg", "kvm"] {
                let Some(course) = course(stage, accelerator) else {
                    assert_eq!(stage, Stage::Media);
                    continue;
                };
                assert!(course.is_sound(), "{stage}");
                assert!(course.marks.is_sorted_by(|a, b| a.at <= b.at), "{stage}");
            }
        }
    }
}
