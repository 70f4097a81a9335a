//! Random calls, each compared with what plain vectors do.

use std::collections::VecDeque;

use proptest::prelude::*;
use rseq::{Ring, Stack};

use support::{available_cpus, restartable, run_on};

/// Small enough to be full often.
const ROOM: usize = 4;

#[derive(Clone, Copy, Debug)]
enum Call {
    Push,
    /// For a ring: takes so many at most.
    Take(usize),
}

/// Calls on one CPU or the other.
fn calls() -> impl Strategy<Value = Vec<(usize, Call)>> {
    let call = prop_oneof![3 => Just(Call::Push), 2 => (0..6_usize).prop_map(Call::Take)];
    prop::collection::vec((0..2_usize, call), 0..60)
}

/// The CPUs that calls run on, if sections go by CPUs.
fn two_cpus() -> Option<[usize; 2]> {
    let cpus = available_cpus();
    let two = restartable().then(|| Some([*cpus.first()?, *cpus.get(1)?])).flatten();
    if two.is_none() {
        println!("skipped: needs two CPUs with slots of their own");
    }
    two
}

/// Takes the latest of a CPU's, or if there is none, half of the other's, of which the latest comes
/// first and the last is what is taken.
fn pop(plain: &mut [Vec<u64>; 2], cpu: usize) -> Option<u64> {
    if let Some(item) = plain[cpu].pop() {
        return Some(item);
    }
    let other = &mut plain[1 - cpu];
    let half = other.len().div_ceil(2);
    let moved = other.split_off(other.len() - half);
    plain[cpu].extend(moved.into_iter().rev());
    plain[cpu].pop()
}

/// Says whether both kept the item of this turn; `None` if but one did, or gave another one back.
fn both(turn: u64, word: Result<(), u64>, large: Result<(), [u64; 3]>) -> Option<bool> {
    match (word, large) {
        (Ok(()), Ok(())) => Some(true),
        (Err(item), Err(items)) if item == turn && items == [turn; 3] => Some(false),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn stacks_are_vectors(calls in calls()) {
        let Some(cpus) = two_cpus() else { return Ok(()) };
        let (stack, large) = (Stack::<u64, ROOM>::new(), Stack::<[u64; 3], ROOM>::new());
        let mut plain = [Vec::new(), Vec::new()];
        for (turn, (cpu, call)) in (1..).zip(calls) {
            run_on(&[cpus[cpu]]);
            match call {
                Call::Push => {
                    let kept = plain[cpu].len() < ROOM;
                    prop_assert_eq!(both(turn, stack.push(turn), large.push([turn; 3])), Some(kept));
                    plain[cpu].extend(kept.then_some(turn));
                }
                Call::Take(_) => {
                    let expected = pop(&mut plain, cpu);
                    prop_assert_eq!(stack.pop(), expected);
                    prop_assert_eq!(large.pop(), expected.map(|item| [item; 3]));
                }
            }
            prop_assert_eq!(stack.len(), plain[0].len() + plain[1].len());
            prop_assert_eq!(stack.is_empty(), plain[0].is_empty() && plain[1].is_empty());
        }
    }

    #[test]
    fn rings_are_queues(calls in calls()) {
        let Some(cpus) = two_cpus() else { return Ok(()) };
        let (ring, large) = (Ring::<u64, ROOM>::new(), Ring::<[u64; 3], ROOM>::new());
        let mut plain = [VecDeque::new(), VecDeque::new()];
        for (turn, (cpu, call)) in (1..).zip(calls) {
            run_on(&[cpus[cpu]]);
            match call {
                Call::Push => {
                    let kept = plain[cpu].len() < ROOM;
                    prop_assert_eq!(both(turn, ring.push(turn), large.push([turn; 3])), Some(kept));
                    plain[cpu].extend(kept.then_some(turn));
                }
                Call::Take(most) => {
                    // CPU by CPU in the order of their numbers, as `available_cpus` has them.
                    let [first, second] = &mut plain;
                    let expected: Vec<u64> =
                        std::iter::from_fn(|| first.pop_front().or_else(|| second.pop_front())).take(most).collect();
                    let taken: Vec<u64> = ring.drain().expect("nobody else drains").take(most).collect();
                    prop_assert_eq!(&taken, &expected);
                    let taken = large.drain().expect("nobody else drains").take(most);
                    prop_assert!(taken.eq(expected.into_iter().map(|item| [item; 3])));
                }
            }
            prop_assert_eq!(ring.len(), plain[0].len() + plain[1].len());
        }
    }
}
