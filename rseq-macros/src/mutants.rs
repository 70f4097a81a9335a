//! Sections with one step of the protocol left out or in the wrong place: the negative controls of
//! the test suite. A test proves something only if it fails for these.

use proc_macro2::TokenStream;
use quote::quote;

use crate::emit::asm;
use crate::ir::{Before, Program, Step};

/// A way to get the protocol wrong.
pub struct Mutation {
    pub name: &'static str,
    /// The mistake in such a section.
    pub wrong: &'static str,
    /// Changes the steps; leaves them as they are where there is nothing to get wrong.
    apply: fn(&mut Program),
}

impl Mutation {
    const fn new(name: &'static str, wrong: &'static str, apply: fn(&mut Program)) -> Self {
        Self { name, wrong, apply }
    }
}

/// All of them.
pub const MUTATIONS: &[Mutation] = &[
    Mutation::new("no_check", "nothing asks at the start whether `prepare` was interrupted", |program| {
        remove(&mut program.steps, is_check);
    }),
    Mutation::new("no_arm", "the window isn't armed", |program| remove(&mut program.steps, is_arm)),
    Mutation::new("no_publish", "the thread descriptor doesn't come to cover the window", |program| {
        remove(&mut program.steps, is_publish);
    }),
    Mutation::new("no_disarm", "the descriptor stays in force after the commit and after exits", |program| {
        remove(&mut program.steps, is_disarm);
    }),
    Mutation::new("no_early_disarm", "the descriptor stays in force where `prepare` is left", |program| {
        remove(&mut program.before, |step| matches!(step, Before::Guard));
    }),
    Mutation::new("start_late", "the window starts one step late", |program| {
        if let Some(start) = position(&program.steps, is_start) {
            program.steps.swap(start, start + 1);
        }
    }),
    Mutation::new("start_at_commit", "the commit is the window's only step", |program| {
        take(&mut program.steps, is_start, is_commit);
    }),
    Mutation::new("post_early", "the window ends before the commit", |program| {
        take(&mut program.steps, is_post, is_commit);
    }),
    Mutation::new("post_late", "the window ends one step late, behind the disarming", |program| {
        take_behind(&mut program.steps, is_post, is_disarm);
    }),
    Mutation::new("index_before_arm", "the index is read before the descriptor is in force", index_before_arm),
    Mutation::new("arm_again", "`prepare` ends by arming, which gives back what an interruption took", |program| {
        if !program.arms_in_window()
            && let Some(outside) = position(&program.before, |step| matches!(step, Before::Outside))
        {
            program.before.insert(outside, Before::Arm);
        }
    }),
    Mutation::new("check_late", "the check comes after the commit", |program| {
        take_behind(&mut program.steps, is_check, is_commit);
    }),
    Mutation::new("publish_late", "the thread descriptor comes to cover the window after the check", |program| {
        take_behind(&mut program.steps, is_publish, is_check);
    }),
    Mutation::new("disarm_early", "the descriptor goes out of force before the commit", |program| {
        take(&mut program.steps, is_disarm, is_commit);
    }),
    Mutation::new("scratch_late", "the scratch stores come after the commit that publishes them", |program| {
        for _ in 0..program.steps.iter().filter(|step| is_scratch(step)).count() {
            take_behind(&mut program.steps, is_scratch, is_commit);
        }
    }),
    Mutation::new("commit_twice", "the window has two published stores", |program| {
        if let Some(commit) = position(&program.steps, is_commit) {
            program.steps.insert(commit, program.steps[commit]);
        }
    }),
];

/// Applies the mutations of these names. Those of the machine's instructions are the emitter's
/// business; a name that nobody knows changes nothing.
pub fn apply(mut program: Program, options: &[String]) -> Program {
    program.flaws = options.to_vec();
    for mutation in options.iter().filter_map(|name| MUTATIONS.iter().find(|mutation| mutation.name == name)) {
        (mutation.apply)(&mut program);
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

fn position<S>(steps: &[S], is: impl Fn(&S) -> bool) -> Option<usize> {
    steps.iter().position(is)
}

fn remove<S>(steps: &mut Vec<S>, is: impl Fn(&S) -> bool) {
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
fn index_before_arm(program: &mut Program) {
    if let Some(index) = position(&program.before, |step| matches!(step, Before::Index { .. })) {
        program.before.insert(index + 1, Before::Arm);
    } else if let Some(arm) = position(&program.steps, is_arm) {
        // Arming and the label behind it come after all that finds the slots, which is in one
        // piece.
        let start = arm + 2;
        let found = program.steps[start..].iter().take_while(|step| finds_slots(step)).count();
        program.steps[arm..start + found].rotate_left(2);
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

fn is_arm(step: &Step) -> bool {
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
