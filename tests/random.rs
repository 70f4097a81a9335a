//! Random windows: what their asm does, what they do in portable mode, and what they should do are the same.
//!
//! `RSEQ_RANDOM_SEED` chooses the sections, `RSEQ_RANDOM_CASES` how many there are.
#![cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]

#[path = "random/generate.rs"]
mod generate;
#[path = "random/image.rs"]
mod image;
#[path = "random/interpret.rs"]
mod interpret;
#[path = "random/memory.rs"]
#[allow(dead_code, reason = "fields that the generated program alone uses")]
mod memory;
#[path = "random/print.rs"]
mod print;
#[path = "random/program.rs"]
mod program;
#[path = "random/registers.rs"]
mod registers;
#[path = "random/section.rs"]
mod section;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use image::Input;
use interpret::{Flaw, Outcome};
use memory::{COMMITTED, Fault};
use program::{Profile, Program, RUNS, Request};
use section::Section;

/// How many sections there are, and with how many memories each runs.
const SECTIONS: usize = 150;
const MEMORIES: usize = 16;
/// So many programs are built to find a smaller section that fails as well.
const MOST_REBUILDS: usize = 30;
/// From so many sections on it is certain enough that each flaw is seen.
const ENOUGH: usize = 100;

#[test]
fn windows_do_what_they_say() {
    let seed = from_environment("RSEQ_RANDOM_SEED").unwrap_or_else(time);
    let count = from_environment("RSEQ_RANDOM_CASES").unwrap_or(SECTIONS);
    println!("RSEQ_RANDOM_SEED={seed} RSEQ_RANDOM_CASES={count}");
    let mut runner = runner(seed);
    let strategy = generate::sections();
    let mut trees: Vec<_> =
        (0..count).map(|_| strategy.new_tree(&mut runner).expect("every section is accepted")).collect();
    let cases: Vec<Case> =
        trees.iter().enumerate().map(|(number, tree)| Case::new(tree.current(), seed, number)).collect();
    let failure = check("random-sections", &cases);
    if let Some(failure) = failure {
        let tree = &mut trees[failure.section];
        let smallest = shrink(tree, seed, &failure);
        panic!(
            "\n{failure}\n\nThe smallest that was found to fail:\n{smallest}\n\nRSEQ_RANDOM_SEED={seed} RSEQ_RANDOM_CASES={count}"
        );
    }
    report_coverage(&cases);
    if count >= ENOUGH {
        every_flaw_is_seen(&cases);
    }
}

fn from_environment<T: FromStr>(name: &str) -> Option<T>
where
    T::Err: Display,
{
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

fn time() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64)
}

fn runner(seed: u64) -> TestRunner {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRunner::new_with_rng(Config::default(), TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// A section with the memories that it runs with, and what it should do.
struct Case {
    section: Section,
    inputs: Vec<Input>,
    expected: Vec<Outcome>,
}

impl Case {
    fn new(section: Section, seed: u64, number: usize) -> Self {
        let random = |memory| Input::random(seed ^ ((number * MEMORIES + memory) as u64).rotate_left(32));
        let inputs: Vec<Input> = (0..MEMORIES).map(random).collect();
        let run = |input: &Input| interpret::run(&section, &input.arguments, &input.image, None);
        let expected = inputs.iter().map(run).collect();
        Self { section, inputs, expected }
    }
}

/// A section that did something else than it should.
struct Failure {
    /// Its number among the sections.
    section: usize,
    text: String,
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// Runs sections in every build and mode; the first that fails.
fn check(name: &'static str, cases: &[Case]) -> Option<Failure> {
    let sections: Vec<&Section> = cases.iter().map(|case| &case.section).collect();
    let program = Program::write(name, &sections);
    std::thread::scope(|scope| {
        let debug = scope.spawn(|| program.build(Profile::Debug));
        let release = program.build(Profile::Release);
        for built in [debug.join().expect("building doesn't panic"), release] {
            built.unwrap_or_else(|error| panic!("the sections don't compile:\n{error}"));
        }
    });
    let requests: Vec<Request<'_>> = (0..cases.len())
        .flat_map(|section| cases[section].inputs.iter().map(move |input| Request { section, input }))
        .collect();
    let replies = RUNS.map(|run| program.run(run, &requests));
    for ((profile, mode), replies) in RUNS.iter().zip(&replies) {
        match &replies.end {
            Ok(printed) if *mode == program::Mode::Default && printed != "restartable" => {
                println!(
                    "skipped: the asm of the {profile:?} build, because this process ran sections in another mode ({printed})"
                );
            }
            Ok(_) | Err(_) => {}
        }
    }
    let expected: Vec<&Outcome> = cases.iter().flat_map(|case| &case.expected).collect();
    (0..requests.len()).find_map(|number| {
        let right = replies.iter().all(|replies| {
            replies
                .outcomes
                .get(number)
                .is_some_and(|(outcome, fault)| outcome == expected[number] && *fault == Fault::None)
        });
        (!right).then(|| failure(cases, &requests[number], expected[number], number, &replies))
    })
}

/// Describes what one section did with one memory, in every build and mode.
fn failure(
    cases: &[Case],
    request: &Request<'_>,
    expected: &Outcome,
    number: usize,
    replies: &[program::Replies],
) -> Failure {
    let before = &request.input.image;
    let source = print::function(&cases[request.section].section);
    let mut text = format!(
        "section {}:\n{source}\nx = {:#x?}\nmemory:{}\n\nexpected: {}\n",
        request.section,
        request.input.arguments,
        image::listed(before, &source),
        outcome(expected, before)
    );
    for (run, replies) in RUNS.iter().zip(replies) {
        let found = match (replies.outcomes.get(number), &replies.end) {
            (Some((found, Fault::None)), _) => outcome(found, before),
            (Some((found, fault)), _) => format!("{fault:?}, {}", outcome(found, before)),
            (None, Err(end)) => format!("none: {end}"),
            (None, Ok(_)) => "none".into(),
        };
        text.push_str(&format!("{run:?}: {found}\n"));
    }
    Failure { section: request.section, text }
}

fn outcome(outcome: &Outcome, before: &[u8]) -> String {
    let way = if outcome.exit == COMMITTED { "committed".into() } else { format!("exit {}", outcome.exit) };
    format!("{way}, values {:x?}, changes: {}", outcome.values, image::differences(before, &outcome.image))
}

/// Makes a failing section smaller for as long as it fails.
fn shrink(tree: &mut impl ValueTree<Value = Section>, seed: u64, first: &Failure) -> String {
    let mut smallest = first.text.clone();
    let mut tried = BTreeSet::from([print::function(&tree.current())]);
    let mut rebuilds = 0;
    let mut is_smaller = tree.simplify();
    while is_smaller && rebuilds < MOST_REBUILDS {
        let section = tree.current();
        // What changed may be a number that decides nothing.
        let failure = if tried.insert(print::function(&section)) {
            rebuilds += 1;
            check("random-section", &[Case::new(section, seed, first.section)])
        } else {
            None
        };
        is_smaller = match failure {
            Some(failure) => {
                smallest = failure.text;
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    smallest
}

/// Says how much the sections do.
fn report_coverage(cases: &[Case]) {
    let runs: Vec<&Outcome> = cases.iter().flat_map(|case| &case.expected).collect();
    let committed = runs.iter().filter(|outcome| outcome.exit == COMMITTED).count();
    let steps: usize = cases.iter().map(|case| case.section.steps.len()).sum();
    let full = cases.iter().filter(|case| !registers::fits(&case.section, 1)).count();
    println!(
        "{} sections with {steps} steps, {full} of them with every register taken; {committed} of {} runs committed",
        cases.len(),
        runs.len()
    );
}

/// The control: had the macro one of these flaws, there would be a section that shows it.
fn every_flaw_is_seen(cases: &[Case]) {
    let sees = |case: &Case, flaw| {
        let run = |input: &Input| interpret::run(&case.section, &input.arguments, &input.image, Some(flaw));
        case.inputs.iter().zip(&case.expected).any(|(input, expected)| run(input) != *expected)
    };
    let mut unseen = Vec::new();
    for flaw in Flaw::ALL {
        let seen = cases.iter().filter(|case| sees(case, *flaw)).count();
        println!("{flaw:?} would be seen by {seen} sections");
        if seen == 0 {
            unseen.push(flaw);
        }
    }
    assert!(unseen.is_empty(), "no section shows {unseen:?}");
}
