//! Sections with one step of the protocol left out or in the wrong place: the negative controls of
//! the test suite. A test proves something only if it fails for these.

use proc_macro2::TokenStream;
use quote::quote;

use crate::emit::asm;
use crate::ir::{Program, Step};

/// A way to get the protocol wrong.
pub struct Mutation {
    pub name: &'static str,
    /// What is wrong with such a section.
    pub wrong: &'static str,
    /// Changes the steps; leaves them as they are where there is nothing to get wrong.
    apply: fn(&mut Vec<Step>),
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    Mutation {
        name: "no_check",
        wrong: "nothing asks at the start whether `prepare` was interrupted",
        apply: |steps| remove(steps, is_check),
    },
    Mutation { name: "no_arm", wrong: "the window isn't armed", apply: |steps| remove(steps, is_window_arm) },
    Mutation {
        name: "no_publish",
        wrong: "the thread descriptor doesn't come to cover the window",
        apply: |steps| remove(steps, is_publish),
    },
    Mutation {
        name: "no_disarm",
        wrong: "the descriptor stays in force after the commit and after exits",
        apply: |steps| remove(steps, is_disarm),
    },
    Mutation {
        name: "no_early_disarm",
        wrong: "the descriptor stays in force where `prepare` is left",
        apply: |steps| remove(steps, |step| matches!(step, Step::Guard)),
    },
    Mutation {
        name: "start_late",
        wrong: "the window starts one step late",
        apply: |steps| {
            if let Some(start) = position(steps, is_start) {
                steps.swap(start, start + 1);
            }
        },
    },
    Mutation {
        name: "start_at_commit",
        wrong: "the commit is the window's only step",
        apply: |steps| take(steps, is_start, is_commit),
    },
    Mutation {
        name: "post_early",
        wrong: "the window ends before the commit",
        apply: |steps| take(steps, is_post, is_commit),
    },
    Mutation {
        name: "post_late",
        wrong: "the window ends one step late, behind the disarming",
        apply: |steps| take_behind(steps, is_post, is_disarm),
    },
    Mutation {
        name: "index_before_arm",
        wrong: "the index is read before the descriptor is in force",
        apply: index_before_arm,
    },
    Mutation {
        name: "arm_again",
        wrong: "`prepare` ends by arming, which gives back what an interruption took",
        apply: |steps| {
            if let Some(outside) = position(steps, |step| matches!(step, Step::Outside))
                && steps.iter().any(|step| matches!(step, Step::Arm))
            {
                steps.insert(outside, Step::Arm);
            }
        },
    },
    Mutation {
        name: "check_late",
        wrong: "the check comes after the commit",
        apply: |steps| take_behind(steps, is_check, is_commit),
    },
    Mutation {
        name: "publish_late",
        wrong: "the thread descriptor comes to cover the window after the check",
        apply: |steps| take_behind(steps, is_publish, is_check),
    },
    Mutation {
        name: "disarm_early",
        wrong: "the descriptor goes out of force before the commit",
        apply: |steps| take(steps, is_disarm, is_commit),
    },
    Mutation {
        name: "scratch_late",
        wrong: "the scratch stores come after the commit that publishes them",
        apply: |steps| {
            for _ in 0..steps.iter().filter(|step| is_scratch(step)).count() {
                take_behind(steps, is_scratch, is_commit);
            }
        },
    },
    Mutation {
        name: "commit_twice",
        wrong: "the window has two published stores",
        apply: |steps| {
            if let Some(commit) = position(steps, is_commit) {
                let again = steps[commit].clone();
                steps.insert(commit, again);
            }
        },
    },
];

/// Applies the mutations of these names. Those of the machine's instructions are the emitter's
/// business; a name that nobody knows changes nothing.
pub fn apply(mut program: Program, options: &[String]) -> Program {
    program.flaws = options.to_vec();
    for mutation in options.iter().filter_map(|name| MUTATIONS.iter().find(|mutation| mutation.name == name)) {
        (mutation.apply)(&mut program.steps);
    }
    program
}

/// The list, as an array of names and what is wrong with each: the mutations of steps, and then
/// those of the machine's instructions.
pub fn list() -> TokenStream {
    let of_steps = MUTATIONS.iter().map(|Mutation { name, wrong, .. }| quote!((#name, #wrong)));
    let of_instructions = asm::MUTATIONS.iter().map(|(name, wrong)| quote!((#name, #wrong)));
    quote!(([#(#of_steps),*], [#(#of_instructions),*]))
}

fn position(steps: &[Step], is: impl Fn(&Step) -> bool) -> Option<usize> {
    steps.iter().position(is)
}

fn remove(steps: &mut Vec<Step>, is: impl Fn(&Step) -> bool) {
    steps.retain(|step| !is(step));
}

/// Takes the first such step to where the other one is, in front of it.
fn take(steps: &mut Vec<Step>, is: fn(&Step) -> bool, to: fn(&Step) -> bool) {
    move_by(steps, is, to, 0);
}

/// Takes the first such step behind the other one.
fn take_behind(steps: &mut Vec<Step>, is: fn(&Step) -> bool, to: fn(&Step) -> bool) {
    move_by(steps, is, to, 1);
}

fn move_by(steps: &mut Vec<Step>, is: fn(&Step) -> bool, to: fn(&Step) -> bool, behind: usize) {
    if let (Some(from), Some(_)) = (position(steps, is), position(steps, to)) {
        let step = steps.remove(from);
        let to = position(steps, to).map_or(from, |to| to + behind);
        steps.insert(to, step);
    }
}

/// With a `prepare`, arms once more behind the index; without, finds the slots first.
fn index_before_arm(steps: &mut Vec<Step>) {
    if let Some(index) = position(steps, |step| matches!(step, Step::Index { .. })) {
        steps.insert(index + 1, Step::Arm);
        return;
    }
    if let Some(arm) = position(steps, is_window_arm) {
        // Arming and the label behind it come after all that finds the slots, which is in one
        // piece.
        let start = arm + 2;
        let found = steps[start..].iter().take_while(|step| finds_slots(step)).count();
        steps[arm..start + found].rotate_left(2);
    }
}

fn finds_slots(step: &Step) -> bool {
    matches!(step, Step::CheckRegistered { .. } | Step::ReadIndex { .. } | Step::Slot { .. })
}

fn is_start(step: &Step) -> bool {
    matches!(step, Step::Start)
}

fn is_post(step: &Step) -> bool {
    matches!(step, Step::Post)
}

fn is_check(step: &Step) -> bool {
    matches!(step, Step::CheckArmed { .. })
}

fn is_window_arm(step: &Step) -> bool {
    matches!(step, Step::ArmWindow { .. })
}

fn is_publish(step: &Step) -> bool {
    matches!(step, Step::Publish { .. })
}

fn is_disarm(step: &Step) -> bool {
    matches!(step, Step::Disarm { .. })
}

fn is_scratch(step: &Step) -> bool {
    matches!(step, Step::Store { .. } | Step::Copy { .. })
}

fn is_commit(step: &Step) -> bool {
    matches!(step, Step::CommitStore { .. } | Step::CommitUpdate { .. })
}
