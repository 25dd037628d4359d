//! What stages typically take where this host has not run them yet.

use super::course::{Course, Mark};
use crate::event::Stage;

/// Emulated on two quiet cores with the reference project: how long stages took is in `README.md` ("A run"), their course is
/// the mean of the first two in `tests/fixtures/timings/courses.json`.
const INSTALL: (f64, &[(&str, f64)]) = (
    307.0,
    &[
        ("0%", 6.9),
        ("medium", 20.1),
        ("2%", 22.8),
        ("5%", 26.1),
        ("components", 27.1),
        ("7%", 43.9),
        ("hardware", 52.3),
        ("partitioning", 60.1),
        ("10%", 60.5),
        ("12%", 78.2),
        ("base system", 79.9),
        ("14%", 81.0),
        ("18%", 132.9),
        ("29%", 139.4),
        ("36%", 150.5),
        ("40%", 172.0),
        ("packages", 192.5),
        ("52%", 203.7),
        ("kernel", 211.9),
        ("packages 2", 221.0),
        ("configure", 230.0),
        ("63%", 260.8),
        ("kernel 2", 269.1),
        ("configure 2", 277.3),
        ("67%", 285.5),
        ("84%", 286.6),
        ("finish", 291.1),
        ("90%", 291.5),
        ("boot loader", 291.6),
        ("finish 2", 304.2),
    ],
);
const DOCKER: (f64, &[(&str, f64)]) = (
    123.0,
    &[
        ("prepare", 25.0),
        ("package lists", 29.0),
        ("download", 39.0),
        ("unpack", 49.0),
        ("configure", 78.0),
        ("verify", 114.0),
        ("end", 117.0),
    ],
);
const ACCOUNT: (f64, &[(&str, f64)]) = (8.0, &[("user", 4.0), ("end", 5.5)]);
const PROJECT: (f64, &[(&str, f64)]) = (224.0, &[("copy", 4.6), ("make", 6.4), ("site", 207.0), ("end", 212.0)]);
const VERIFY: (f64, &[(&str, f64)]) = (49.0, &[("site", 43.4), ("checks", 46.8), ("moment", 47.8)]);

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
