//! Sections in the model of rseq-explore: every schedule with a few events, in which nothing may go
//! wrong; and the mutants of the protocol, each of which must.
//!
//! `goldens/caught.tsv` says which section shows which mutation, and after how many events:
//! `BLESS=1 cargo test --test protocol model` writes it.
#![allow(clippy::duplicate_mod, reason = "once as they are, and once with each mutation")]

use std::fmt::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use rseq_explore::model::{Bounds, Broken, Done, Failure, Model, Wrong};

/// The sections as they are.
#[path = "."]
mod whole {
    macro_rules! section {
        ($($tokens:tt)*) => { ::rseq_explore::model! { $($tokens)* } };
    }

    pub mod sections;
}

/// A module with the sections of the examples: as they are, or with a mutation. (In parentheses a
/// `$`, for the macro inside.)
macro_rules! examples {
    (($d:tt) $name:ident: $($mutation:tt)*) => {
        #[allow(dead_code, reason = "not every mutation is tried with every example")]
        #[path = "../../../examples/operations"]
        mod $name {
            macro_rules! section {
                ($d($d tokens:tt)*) => { ::rseq_explore::model! { $($mutation)* $d($d tokens)* } };
            }
            use section as rseq;

            #[path = "../../tests/protocol/model/buffers.rs"]
            pub mod buffers;
            #[path = "../../tests/protocol/model/counter.rs"]
            pub mod counter;
            pub mod librseq;
            #[path = "../../tests/protocol/model/operations.rs"]
            pub mod operations;
            pub mod slab;
        }
    };
}

examples! { ($) examples: }
examples! { ($) unarmed: [no_arm] }
examples! { ($) unchecked: [no_check] }

/// A module with the types of the crate, by the model's sections and its fence: as they are, or
/// with a mutation, or by another fence, or by another way to deal with shelves that are stopped.
/// (In parentheses a `$`, for the macro inside.)
macro_rules! types {
    (($d:tt) $name:ident: [$($mutation:tt)*], $fence:expr, $drain:ident) => {
        #[allow(dead_code, reason = "not every method is used")]
        #[path = "../../../src"]
        mod $name {
            macro_rules! section {
                ($d($d tokens:tt)*) => { ::rseq_explore::model! { $($mutation)* $d($d tokens)* } };
            }
            use section as rseq;
            use ::rseq::{__private, AllocError, CpuId, PerCpu, Slots};

            /// The drain protocol by the model's fence, before and after which the other CPU may
            /// come in.
            mod drain {
                use std::sync::atomic::AtomicUsize;

                pub use super::super::$drain::{STOPPED, insist, seen};
                pub use ::rseq::drain::{MOST, StopError, Stopped, stop_by};

                pub fn stop(number: &AtomicUsize, _: ::rseq::CpuId) -> Result<Stopped<'_>, StopError> {
                    let stopped = stop_by(number, || {
                        super::between();
                        ($fence)();
                        super::between();
                        Ok(())
                    });
                    stopped.map_err(seen)
                }
            }

            static COUNTS: PerCpu<std::sync::atomic::AtomicU64> = PerCpu::new();

            /// Runs a section that has nothing to do with anything.
            fn between() {
                rseq! { commit |cpu| add(&COUNTS[cpu], 1) }
            }

            mod cells;
            mod current;
            mod ring;
            mod stack;
            #[path = "../tests/protocol/model/types.rs"]
            pub mod types;
        }
    };
}

types! { ($) types: [], ::rseq_explore::model::fence, insistent }
types! { ($) unarmed_types: [[no_arm]], ::rseq_explore::model::fence, insistent }
types! { ($) unfenced_types: [], || (), insistent }
types! { ($) waiting_types: [], ::rseq_explore::model::fence, waiting }
types! { ($) hasty_types: [], ::rseq_explore::model::fence, hasty }

/// A shelf that is stopped is resumed, without waiting.
mod insistent {
    pub use rseq::drain::{STOPPED, StopError, resume};

    pub fn insist(number: &super::AtomicUsize, _: u32) {
        resume(number);
    }

    pub fn seen(error: StopError) -> StopError {
        error
    }
}

/// One that is stopped is waited for.
mod waiting {
    pub use super::insistent::{STOPPED, seen};

    pub fn insist(_: &super::AtomicUsize, _: u32) {}
}

/// One that is stopped is taken for one that is full, or empty.
mod hasty {
    use rseq::drain::StopError;

    pub use super::waiting::insist;

    pub const STOPPED: usize = usize::MAX;

    pub fn seen(_: StopError) -> StopError {
        StopError::Crowded
    }
}

/// A module of the sections for each mutation, and what lists them all. (In parentheses a `$`, for
/// the macros inside.)
macro_rules! mutants {
    (($d:tt) $($mutation:ident)*) => {
        $(
            #[path = "."]
            mod $mutation {
                macro_rules! section {
                    ($d($d tokens:tt)*) => { ::rseq_explore::model! { [$mutation] $d($d tokens)* } };
                }

                pub mod sections;
            }
        )*

        /// Each mutation with where it is found first, by what comes of it alone and by the model's
        /// rules.
        fn caught() -> Vec<(&'static str, [Option<Caught>; 2])> {
            vec![$((stringify!($mutation), first_caught($mutation::sections::models))),*]
        }
    };
}

mutants! { ($)
    no_check
    no_arm
    no_publish
    no_disarm
    no_early_disarm
    start_late
    start_at_commit
    post_early
    post_late
    index_before_arm
    arm_again
    check_late
    publish_late
    disarm_early
    scratch_late
    commit_twice
}

/// The section that shows a mutation first, and the schedule.
struct Caught {
    section: String,
    events: usize,
    failure: Failure,
}

impl Caught {
    /// The rule that is broken, and where: columns of the table.
    fn rule(&self) -> String {
        format!("{}\t{}\t{}", self.failure.wrong, self.section, self.events)
    }
}

/// A mutation that no section shows after so many events isn't caught.
const MOST_EVENTS: usize = 2;

/// Where a mutation shows first, by what the check of a section says and by a rule of the model.
fn first_caught<S: 'static, I: Iterator<Item = (String, Model<S>)>>(models: fn() -> I) -> [Option<Caught>; 2] {
    let first = |rules, most: usize, counts: fn(&Wrong) -> bool| {
        (0..=most).find_map(|events| {
            models().find_map(|(section, model)| {
                let failure = *model.search(Bounds { events, rules }).err().filter(|failure| counts(&failure.wrong))?;
                Some(Caught { section, events, failure })
            })
        })
    };
    let by_results = first(false, MOST_EVENTS, |_| true);
    let most = by_results.as_ref().map_or(MOST_EVENTS, |caught| caught.events);
    [by_results, first(true, most, |wrong| matches!(wrong, Wrong::Rule(_)))]
}

#[test]
fn sections_are_exact() {
    for (name, model) in whole::sections::models() {
        println!("{name}: {}", model.explore(Bounds::events(2)));
    }
    println!("slots made by whoever comes first: {}", whole::sections::first_use().explore(Bounds::events(2)));
}

#[test]
fn short_sections_are_exact_under_more_events() {
    for (name, model) in whole::sections::short() {
        println!("{name}: {}", model.explore(Bounds::events(3)));
    }
}

/// Every restart needs a reason, else a section would never end.
#[test]
fn a_section_in_prepare_never_ends() {
    let nested = whole::sections::nested();
    let wrong =
        |rules| nested.search(Bounds { events: 0, rules }).expect_err("the inner section aborts the outer one").wrong;
    assert_eq!(wrong(true), Wrong::Rule(Broken::AbortedByNothing));
    assert_eq!(wrong(false), Wrong::Endless);
}

/// Two threads, one on each CPU, each of which counts in one of two places.
fn two_that_count(places: [usize; 2]) -> Model<[AtomicU64; 2]> {
    let hit =
        |place: usize| move |counts: &[AtomicU64; 2]| rseq_explore::model! { commit |_cpu| add(&counts[place], 1) };
    let prepared = |place: usize| {
        move |counts: &[AtomicU64; 2]| {
            rseq_explore::model! {
                prepare |_cpu| { let next = counts[place].load(Relaxed) + 1; }
                commit store(&counts[place], next)
            }
        }
    };
    let [first, second] = places;
    Model::new(Default::default).thread(0, hit(first)).thread(1, prepared(second))
}

#[test]
fn a_place_that_two_cpus_commit_to_is_found() {
    let failure = two_that_count([0, 0]).search(Bounds::events(1)).expect_err("they share it");
    assert_eq!(failure.wrong, Wrong::Rule(Broken::SharedPlace), "{failure}");
    println!("{failure}");
    two_that_count([0, 1]).explore(Bounds::events(2));
}

/// By concurrency ids as well, of which a thread has another when it comes to run again.
#[test]
fn a_place_that_two_concurrency_ids_commit_to_is_found() {
    let hit = |count: &AtomicU64| rseq_explore::model! { commit |_cid: MmCid| add(count, 1) };
    let shared = Model::new(Default::default).thread(0, hit).thread(1, hit);
    let failure = shared.search(Bounds::events(1)).expect_err("they share it");
    assert_eq!(failure.wrong, Wrong::Rule(Broken::SharedPlace), "{failure}");
}

/// Threads of one CPU may share what they like; so may those who get it from each other.
#[test]
fn places_that_are_shared_by_turns_are_not() {
    let hit = |count: &AtomicU64| rseq_explore::model! { commit |_cpu| add(count, 1) };
    let check = |count: &AtomicU64, done: Done| assert_eq!(count.load(Relaxed), done.all() as u64);
    let together = Model::new(Default::default).thread(0, hit).thread(0, hit).handler(hit).check(check);
    // A thread that is moved to another CPU goes on by another index, and the one that it leaves
    // behind too.
    println!("on one CPU: {}", together.explore(Bounds::events(1)));
    let passed_on = move |count: &AtomicU64, turn: u64| {
        if count.load(Relaxed) == turn {
            hit(count);
        }
    };
    let by_turns = Model::new(Default::default)
        .thread(0, move |count| passed_on(count, 0))
        .thread(1, move |count| passed_on(count, 1));
    println!("by turns: {}", by_turns.explore(Bounds::events(3)));
}

#[test]
fn examples_are_exact() {
    let [counter, buffers] = [examples::counter::searched(), examples::buffers::searched()];
    let named = [("counter", counter.into_iter().collect()), ("push_pop", buffers.into_iter().collect())];
    for (name, searched) in examples::operations::searched().into_iter().chain(named) {
        let reports: Vec<String> =
            searched.unwrap_or_else(|failure| panic!("{name}: {failure}")).iter().map(ToString::to_string).collect();
        println!("{name}: {}", reports.join(", "));
    }
}

/// The control: each of these checks notices that windows aren't armed, or that nothing asks
/// whether `prepare` was interrupted.
#[test]
fn mutants_of_the_examples_are_not() {
    let prepared = [("counter", unchecked::counter::searched()), ("push_pop", unchecked::buffers::searched())];
    let prepared = prepared.map(|(name, searched)| (name, searched.into_iter().collect()));
    for (name, searched) in unarmed::operations::searched().into_iter().chain(prepared) {
        println!("{name}: {}", searched.expect_err(name));
    }
}

#[test]
fn types_are_exact() {
    for (name, searched) in types::types::searched() {
        println!("{name}: {}", searched.unwrap_or_else(|failure| panic!("{name}: {failure}")));
    }
}

/// The controls: windows that aren't armed, taking from another CPU without its fence, and waiting
/// for whoever has stopped a CPU.
#[test]
fn mutants_of_the_types_are_not() {
    for (name, searched) in unarmed_types::types::searched() {
        // Two that stop slots meet in no window.
        if name != "stack, taken from by two" {
            println!("{name}: {}", searched.expect_err(name));
        }
    }
    let unfenced = failure(unfenced_types::types::searched(), "stack, taken from while its CPU pops and pushes");
    println!("without a fence: {unfenced}");
    let waiting = failure(waiting_types::types::searched(), types::types::TAKEN_FROM);
    assert_eq!(waiting.wrong, Wrong::Endless, "{waiting}");
    let hasty = failure(hasty_types::types::searched(), types::types::TAKEN_FROM);
    println!("without a look whether a CPU is stopped: {hasty}");
}

/// The failure of the operation of this name.
fn failure(mut searched: impl Iterator<Item = types::types::Searched>, name: &str) -> Box<Failure> {
    let searched = searched.find_map(|(searched, result)| (searched == name).then_some(result));
    searched.expect("it is searched").expect_err(name)
}

#[test]
fn mutants_are_caught() {
    let ((mutations, _), caught) = (rseq::__private::mutations!(), caught());
    assert_eq!(caught.iter().map(|(name, _)| *name).collect::<Vec<_>>(), mutations.map(|(name, _)| name));
    let mut table = String::from("mutation\twhat is wrong\tshown by\tevents\trule\tbroken by\tevents\n");
    for ((name, [by_results, by_rules]), (_, wrong)) in caught.iter().zip(mutations) {
        let by_results = by_results.as_ref().unwrap_or_else(|| panic!("nothing shows {name}"));
        let rule = by_rules.as_ref().map_or_else(|| "-\t-\t-".into(), Caught::rule);
        println!("{name}, {}: {}{rule}", by_results.section, by_results.failure);
        writeln!(table, "{name}\t{wrong}\t{}\t{}\t{rule}", by_results.section, by_results.events)
            .expect("a string takes everything");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocol/goldens/caught.tsv");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &table).expect("the folder is there");
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(known, table, "read what changed, then BLESS=1 cargo test --test protocol model");
}
