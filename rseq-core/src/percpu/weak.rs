//! First uses on machines that do loads in another order than the program's, by every order: a
//! window that finds the limit of some slots finds the first of them. The machine's own order is
//! asked of herd7 as well, where that is installed.
//!
//! The stand-ins for [`PerCpu::open`](super::PerCpu::open) here are its stores and its fence, in
//! the order that `tests::windows_find_the_first_slot_before_the_limit` holds it to; for a window
//! its loads, which the goldens show.
use std::collections::HashSet;
use std::vec::Vec;

/// A word in memory: 0 before it is stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Word {
    First,
    Limit,
}

use Word::{First, Limit};

/// A step of somebody who lets windows use slots.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    /// Goes on when that is stored: what comes before in another thread is seen.
    Finds(Word),
    Stores(Word),
    /// A barrier in every thread, wherever it is.
    Fence,
}

use Step::{Fence, Finds, Stores};

/// The one who makes the values, and others who find them made: another thread, or a handler on top
/// of the first.
const MAKES: &[Step] = &[Stores(First), Fence, Stores(Limit)];
const FINDS: &[Step] = &[Finds(First), Fence, Stores(Limit)];

/// The loads of a window, in the order of the program. Behind the first it branches, which orders
/// nothing.
const WINDOW: [Word; 2] = [Limit, First];

/// A machine with some who open slots, and a window in another thread.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Machine {
    stored: [bool; 2],
    openers: Vec<&'static [Step]>,
    /// The findings of the window's loads: some are done ahead of those before them.
    found: [Option<bool>; 2],
    /// How many of them are over, for the thread itself and so for whatever interrupts it.
    over: usize,
}

impl Machine {
    fn new(openers: &[&'static [Step]]) -> Self {
        Self { stored: [false; 2], openers: openers.to_vec(), found: [None; 2], over: 0 }
    }

    fn has(&self, word: Word) -> bool {
        self.stored[word as usize]
    }

    /// All that can come next.
    fn next(&self) -> Vec<Self> {
        let mut all = Vec::new();
        let mut changed = |change: &dyn Fn(&mut Self)| {
            let mut machine = self.clone();
            change(&mut machine);
            all.push(machine);
        };
        for (load, word) in WINDOW.into_iter().enumerate().filter(|(load, _)| self.found[*load].is_none()) {
            changed(&|machine| machine.found[load] = Some(self.has(word)));
        }
        if self.found.get(self.over).is_some_and(Option::is_some) {
            changed(&|machine| machine.over += 1);
        }
        for (number, steps) in self.openers.iter().enumerate() {
            let Some((step, rest)) = steps.split_first() else { continue };
            match *step {
                Finds(word) if !self.has(word) => continue,
                _ => {}
            }
            changed(&|machine| {
                machine.openers[number] = rest;
                match *step {
                    Finds(_) => {}
                    Stores(word) => machine.stored[word as usize] = true,
                    // The window's thread is interrupted: what it has done too early it does again.
                    Fence => machine.found[self.over..].fill(None),
                }
            });
        }
        all
    }

    /// True if the window goes to a slot that there isn't.
    fn is_wrong(&self) -> bool {
        self.over == WINDOW.len() && self.found == [Some(true), Some(false)]
    }
}

/// True if a window can go to a slot that there isn't, in any order.
fn goes_wrong(openers: &[&'static [Step]]) -> bool {
    let (mut seen, mut left) = (HashSet::new(), std::vec![Machine::new(openers)]);
    while let Some(machine) = left.pop() {
        if machine.is_wrong() {
            return true;
        }
        left.extend(machine.next().into_iter().filter(|next| seen.insert(next.clone())));
    }
    false
}

#[test]
fn windows_find_the_slots_of_a_limit() {
    for openers in [&[MAKES][..], &[MAKES, FINDS], &[MAKES, FINDS, FINDS], &[&MAKES[..1], FINDS], &[MAKES, &FINDS[..2]]]
    {
        assert!(!goes_wrong(openers), "{openers:?}");
    }
}

/// Controls: without the fence, with it in another place, and where one relies on another's.
#[test]
fn without_a_fence_they_do_not() {
    const WITHOUT: &[Step] = &[Stores(First), Stores(Limit)];
    const TOO_EARLY: &[Step] = &[Fence, Stores(First), Stores(Limit)];
    const TOO_LATE: &[Step] = &[Stores(First), Stores(Limit), Fence];
    const RELIES: &[Step] = &[Finds(First), Stores(Limit)];
    for openers in [&[WITHOUT][..], &[TOO_EARLY], &[TOO_LATE], &[MAKES, RELIES]] {
        assert!(goes_wrong(openers), "{openers:?}");
    }
}
