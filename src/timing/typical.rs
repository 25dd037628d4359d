//! What stages typically take where this host has not run them yet.

use super::course::{Course, Mark};
use crate::event::Stage;

/// Emulated on two cores with the reference project.
const INSTALL: (f64, &[(&str, f64)]) = (
    740.0,
    &[
        ("0%", 20.0),
        ("medium", 45.0),
        ("2%", 57.0),
        ("components", 63.0),
        ("5%", 66.0),
        ("hardware", 123.0),
        ("9%", 132.0),
        ("partitioning", 139.0),
        ("10%", 141.0),
        ("12%", 165.0),
        ("base system", 173.0),
        ("14%", 175.0),
        ("18%", 333.0),
        ("29%", 352.0),
        ("36%", 385.0),
        ("40%", 446.0),
        ("packages", 490.0),
        ("52%", 508.0),
        ("kernel", 527.0),
        ("57%", 566.0),
        ("63%", 655.0),
        ("67%", 695.0),
        ("finish", 705.0),
        ("90%", 706.0),
        ("boot loader", 707.0),
    ],
);
const DOCKER: (f64, &[(&str, f64)]) = (
    260.0,
    &[
        ("prepare", 60.0),
        ("package lists", 66.0),
        ("download", 88.0),
        ("unpack", 110.0),
        ("configure", 168.0),
        ("verify", 242.0),
        ("end", 250.0),
    ],
);
const ACCOUNT: (f64, &[(&str, f64)]) = (16.0, &[("user", 8.0), ("end", 11.0)]);
const PROJECT: (f64, &[(&str, f64)]) = (440.0, &[("copy", 9.0), ("make", 13.0), ("site", 412.0), ("end", 420.0)]);
const VERIFY: (f64, &[(&str, f64)]) = (150.0, &[("site", 132.0), ("checks", 142.0), ("moment", 146.0)]);

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
