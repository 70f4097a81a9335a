//! The locks by every schedule of a few sections, handlers, fences and drains: nobody waits in a
//! circle, and nothing commits that mustn't. The code is that of [`Lock`] itself, on words of the
//! model's; memory is sequentially consistent (what the orders are for is Miri's part). With each
//! flaw that a word can have on purpose, the search finds something.
mod search;
mod thread;

use std::string::String;

use self::search::{Flaw, Search};
use self::thread::Action::{self, Drain, Fence, Left, Section};
use self::thread::Program;

const fn alone(actions: &'static [Action]) -> Program {
    Program { actions, handler: &[] }
}

const fn below(handler: &'static [Action], actions: &'static [Action]) -> Program {
    Program { actions, handler }
}

fn must_be_right(programs: impl IntoIterator<Item: AsRef<[Program]>>) {
    let of = |programs: &[Program]| Search::run(programs, Flaw::None).unwrap_or_else(|wrong| panic!("{wrong}"));
    let states: usize = programs.into_iter().map(|programs| of(programs.as_ref())).sum();
    std::println!("{states} states");
}

/// The mistake that is found where these run with the flaw.
fn wrong(flaw: Flaw, programs: &[Program]) -> String {
    Search::run(programs, flaw).expect_err("a flaw that makes no difference")
}

const ONE_SLOT: [&[Action]; 4] = [&[Section(0, &[])], &[Fence(Some(0))], &[Drain(0)], &[Left(0)]];
const NESTED: [&[Action]; 6] = [
    &[Section(0, &[Fence(None)])],
    &[Section(1, &[Fence(None)])],
    &[Section(0, &[Section(0, &[])])],
    &[Section(0, &[Section(1, &[])])],
    &[Section(1, &[Section(0, &[])])],
    &[Section(1, &[Drain(0)])],
];

/// Two threads in sections on two slots, each with a handler that goes to the other's.
#[test]
fn handlers_go_to_each_others_slots() {
    const FIRST: [&[Action]; 3] = [&[Section(1, &[])], &[Fence(None)], &[Drain(1)]];
    const SECOND: [&[Action]; 3] = [&[Section(0, &[])], &[Fence(None)], &[Drain(0)]];
    let programs = |(first, second)| [below(first, &[Section(0, &[])]), below(second, &[Section(1, &[])])];
    must_be_right(pairs(&FIRST, &SECOND).map(programs));
}

/// A handler comes on top of a section, of a fence and of a drain.
#[test]
fn handlers_come_on_top_of_anything() {
    let programs = |other| {
        ONE_SLOT.into_iter().flat_map(move |handler| ONE_SLOT.map(|on_top| [below(handler, on_top), alone(other)]))
    };
    must_be_right(ONE_SLOT.into_iter().flat_map(programs));
}

#[test]
fn sections_do_anything_in_their_prepare() {
    let others = || ONE_SLOT.into_iter().chain(NESTED);
    must_be_right(NESTED.into_iter().flat_map(|one| others().map(move |other| [alone(one), alone(other)])));
}

#[test]
fn three_threads_meet_on_one_slot() {
    let programs = |(one, other)| [alone(&[Section(0, &[])]), alone(one), alone(other)];
    must_be_right(pairs(&ONE_SLOT, &ONE_SLOT).map(programs));
}

/// One of each, but not both of two that are the same with the threads exchanged.
fn pairs<'a, T: Copy>(ones: &'a [T], others: &'a [T]) -> impl Iterator<Item = (T, T)> + 'a {
    ones.iter().enumerate().flat_map(|(number, one)| others[..=number].iter().map(|other| (*one, *other)))
}

/// As long as sections last: this is what was wrong when a fence waited for them.
#[test]
fn with_endless_patience_all_wait() {
    let handlers = [below(&[Fence(Some(1))], &[Section(0, &[])]), below(&[Fence(Some(0))], &[Section(1, &[])])];
    let fences = [alone(&[Section(0, &[Fence(Some(1))])]), alone(&[Section(1, &[Fence(Some(0))])])];
    let sections = [alone(&[Section(0, &[Section(1, &[])])]), alone(&[Section(1, &[Section(0, &[])])])];
    for programs in [handlers, fences, sections] {
        assert!(wrong(Flaw::EndlessPatience, &programs).starts_with("all wait"));
    }
}

#[test]
fn what_nobody_takes_from_a_section_it_commits_to() {
    let programs = [alone(&[Section(0, &[])]), alone(&[Fence(Some(0))])];
    assert!(wrong(Flaw::NothingIsTaken, &programs).starts_with("a section that is over commits"));
}

#[test]
fn where_windows_are_hidden_two_run() {
    let section = alone(&[Section(0, &[])]);
    assert!(wrong(Flaw::HiddenWindow, &[section, section]).starts_with("two windows run"));
}

#[test]
fn a_fence_that_waits_for_no_window_returns_too_early() {
    for other in [&[Fence(Some(0))], &[Drain(0)]] {
        let wrong = wrong(Flaw::BlindFence, &[alone(&[Section(0, &[])]), alone(other)]);
        assert!(wrong.contains("commits on slot 0"), "{wrong}");
    }
}

#[test]
fn who_leaves_blindly_lets_two_in() {
    let section = alone(&[Section(0, &[])]);
    let wrong = wrong(Flaw::LeavesBlindly, &[alone(&[Left(0)]), section, section]);
    assert!(wrong.starts_with("two windows run"), "{wrong}");
}

#[test]
fn with_signals_in_windows_sections_commit_that_are_over() {
    let programs = [below(&[Section(0, &[])], &[Section(0, &[])])];
    let wrong = wrong(Flaw::SignalsInWindows, &programs);
    assert!(wrong.starts_with("two windows run"), "{wrong}");
}
