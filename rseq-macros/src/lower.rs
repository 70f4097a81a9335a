//! From a checked section to the steps of the watched-prepare protocol.

use proc_macro2::Span;

use crate::ir::{OnAbort, Program, Step};
use crate::syntax::ast::{Form, Section};

/// Any Rust may run between arming and the commit block, because the kernel notes every interruption of it: it takes the
/// descriptor out of force, and the check at the window's start sees that.
///
/// With `checked`, the window also compares the CPU with the one that `prepare` saw. That is seen already where `prepare` makes no system
/// call, and costs a tenth of a short section, so it is for debug builds.
pub fn program(section: Section, checked: bool) -> Program {
    let Form { order, place, value } = section.form;
    let mut steps = vec![Step::Guard, Step::Arm];
    steps.extend(section.index.map(|index| Step::Index { name: index.name, kind: index.kind }));
    steps.extend(section.prepare.map(Step::Prepare));
    steps.push(Step::Operands { place, value });
    steps.extend([Step::Publish, Step::Start, Step::CheckArmed]);
    steps.extend(checked.then_some(Step::CheckIndex));
    steps.extend([Step::Commit(order), Step::Post, Step::Disarm]);
    let abort = match section.abort {
        Some(abort) => OnAbort::Run { count: abort.count, body: abort.body },
        None => OnAbort::Relax,
    };
    Program { location: location(section.start), steps, abort, result: section.result }
}

/// Where a token of the user's stands: the call of the macro itself is the shell's. Unknown outside of a compiler, as in unit tests.
fn location(token: Span) -> String {
    if !proc_macro::is_available() {
        return String::new();
    }
    let span = token.unwrap();
    format!("{}:{}:{}", span.file(), span.line(), span.column())
}
