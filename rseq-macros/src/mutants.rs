//! Sections with one step of the protocol left out: the negative controls of the test suite. A test of exactness proves
//! something only if it fails for these.

use crate::ir::{Program, Step};

/// Leaves out the step that the mutation is named after; a name that isn't known leaves the program as it is.
pub fn apply(mut program: Program, options: &[String]) -> Program {
    for mutation in options {
        program.steps.retain(|step| {
            !matches!(
                (mutation.as_str(), step),
                ("no_check", Step::CheckArmed { .. })
                    | ("no_arm", Step::ArmWindow { .. })
                    | ("no_publish", Step::Publish { .. })
                    | ("no_disarm", Step::Disarm { .. })
                    | ("no_early_disarm", Step::Guard)
            )
        });
    }
    program
}
