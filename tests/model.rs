//! Sections in the model of rseq-explore: every schedule with a few events, in which nothing may go wrong; and the mutants of the protocol, each of which must.
//!
//! `tests/model/caught.tsv` says which section shows which mutation, and after how many events; `BLESS=1 cargo test --test model` writes it.
#![allow(clippy::duplicate_mod, reason = "once as they are, and once with each mutation")]

use std::fmt::Write;
use std::path::Path;

use rseq_explore::model::{Bounds, Failure, Model};

use whole::sections::State;

/// The sections as they are.
#[path = "model"]
mod whole {
    pub(super) use rseq_explore::model as section;

    #[path = "sections.rs"]
    pub mod sections;
}

/// A module of the sections for each mutation, and what lists them all. (In parentheses a `$`, for the macros inside.)
macro_rules! mutants {
    (($d:tt) $($mutation:ident)*) => {
        $(
            #[path = "model"]
            mod $mutation {
                macro_rules! section {
                    ($d($d tokens:tt)*) => { ::rseq_explore::model! { [$mutation] $d($d tokens)* } };
                }
                use section;

                #[path = "sections.rs"]
                pub mod sections;
            }
        )*

        /// Each mutation with where it is found first, by what comes of it alone and by the model's rules.
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

/// A mutation that no section shows after so many events isn't caught.
const MOST_EVENTS: usize = 3;

fn first_caught<S: 'static, I: Iterator<Item = (String, Model<S>)>>(models: fn() -> I) -> [Option<Caught>; 2] {
    [false, true].map(|rules| {
        (0..=MOST_EVENTS).find_map(|events| {
            models().find_map(|(section, model)| {
                let failure = *model.search(Bounds { events, rules }).err()?;
                Some(Caught { section, events, failure })
            })
        })
    })
}

#[test]
fn sections_are_exact() {
    for (name, model) in whole::sections::models() {
        println!("{name}: {}", model.explore(Bounds::events(2)));
    }
}

#[test]
fn mutants_are_caught() {
    let mut table = String::from("mutation\twrong\tby its results\tby a rule\n");
    let mutations = rseq::__private::mutations!();
    let caught = caught();
    assert_eq!(caught.iter().map(|(name, _)| *name).collect::<Vec<_>>(), mutations.map(|(name, _)| name));
    for ((name, caught), (_, wrong)) in caught.iter().zip(mutations) {
        let [results, rules] = caught.each_ref().map(|caught| match caught {
            Some(Caught { section, events, failure }) => {
                println!("{name}, {events} events, {section}: {failure}");
                format!("{section}; {events} events")
            }
            None => "-".into(),
        });
        writeln!(table, "{name}\t{wrong}\t{results}\t{rules}").expect("a string takes everything");
    }
    println!("{table}");
}
