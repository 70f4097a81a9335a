//! Random windows: what their asm does, what they do in portable mode, and what they should do are
//! the same.
//!
//! `RSEQ_RANDOM_SEED` chooses the sections, `RSEQ_RANDOM_CASES` how many there are.
#![cfg(all(target_os = "linux", target_pointer_width = "64", target_endian = "little"))]

mod generate;
mod image;
mod interpret;
#[allow(dead_code, reason = "fields that the generated program alone uses")]
mod memory;
mod print;
mod program;
mod registers;
mod section;

use std::collections::BTreeMap;
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
/// With so many of the memories each section runs in the model and is aborted once, after each
/// statement; with one of them, twice.
const MEMORIES_WITH_ABORTS: usize = 3;
/// So many programs are built to find a smaller section that fails as well.
const MOST_REBUILDS: usize = 30;
/// With so many sections or more, each flaw must be seen by some. Further ones are taken only if
/// they show what hardly another does, from so many times the number of sections.
const ENOUGH: usize = 100;
const LEAST_SEEN: usize = 3;
const MOST_TRIED: usize = 10;

#[test]
fn windows_do_what_they_say() {
    let seed = from_environment("RSEQ_RANDOM_SEED").unwrap_or_else(time);
    let count = from_environment("RSEQ_RANDOM_CASES").unwrap_or(SECTIONS);
    println!("RSEQ_RANDOM_SEED={seed} RSEQ_RANDOM_CASES={count}");
    let mut runner = runner(seed);
    let strategy = generate::sections();
    let mut batch = Batch::default();
    let mut next = || strategy.new_tree(&mut runner).expect("every section is accepted");
    for number in 0..count {
        let tree = next();
        batch.add(Case::new(tree.current(), seed, number), tree);
    }
    for number in count..MOST_TRIED * count {
        if count < ENOUGH || batch.shows_everything() {
            break;
        }
        let tree = next();
        let case = Case::new(tree.current(), seed, number);
        if batch.lacks(&case) {
            batch.add(case, tree);
        }
    }
    let Batch { cases, mut trees, .. } = batch;
    if let Some(failure) = check("random-sections", &cases) {
        let smallest = shrink(&mut trees[failure.section], &cases[failure.section].inputs, &failure);
        let again = format!("RSEQ_RANDOM_SEED={seed} RSEQ_RANDOM_CASES={count}");
        panic!("\n{failure}\n\nThe smallest that was found to fail:\n{smallest}\n\n{again}");
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
    aborted: Vec<Aborted>,
}

/// A run in the model.
struct Aborted {
    /// The number of the input.
    input: usize,
    /// Where each attempt but the last one is aborted.
    aborts: Vec<usize>,
    expected: Outcome,
}

impl Case {
    fn new(section: Section, seed: u64, number: usize) -> Self {
        let random = |memory| Input::random(seed ^ ((number * MEMORIES + memory) as u64).rotate_left(32));
        Self::of(section, (0..MEMORIES).map(random).collect())
    }

    fn of(section: Section, inputs: Vec<Input>) -> Self {
        let run =
            |input: &Input, aborts: &[usize]| interpret::run(&section, &input.arguments, &input.image, aborts, None);
        let expected = inputs.iter().map(|input| run(input, &[])).collect();
        let memories = inputs.iter().enumerate().take(MEMORIES_WITH_ABORTS);
        let mut aborted = Vec::new();
        for (number, input) in memories {
            let most = if number == 0 { memory::ABORTS } else { 1 };
            let with = |aborts: Vec<usize>| Aborted { input: number, expected: run(input, &aborts), aborts };
            aborted.extend(schedules(&section, most).into_iter().map(with));
        }
        Self { section, inputs, expected, aborted }
    }

    /// `true` if the section would do something else, were this wrong.
    fn shows(&self, flaw: Flaw) -> bool {
        let run = |input: &Input, aborts: &[usize]| {
            interpret::run(&self.section, &input.arguments, &input.image, aborts, Some(flaw))
        };
        if flaw.is_of_aborts() {
            return self
                .aborted
                .iter()
                .any(|aborted| run(&self.inputs[aborted.input], &aborted.aborts) != aborted.expected);
        }
        self.inputs.iter().zip(&self.expected).any(|(input, expected)| run(input, &[]) != *expected)
    }
}

/// Every way to abort up to so many attempts of a section: in front of each statement and of the
/// commit, and in the middle of each copy.
fn schedules(section: &Section, most: usize) -> Vec<Vec<usize>> {
    let copies = section.steps.iter().enumerate().filter(|(_, step)| matches!(step, section::Step::Copy { .. }));
    let places: Vec<usize> =
        (0..=section.steps.len()).map(|step| 2 * step).chain(copies.map(|(step, _)| 2 * step + 1)).collect();
    let mut schedules = vec![Vec::new()];
    let mut longest = schedules.clone();
    for _ in 0..most {
        let one_more = |schedule: &Vec<usize>| {
            let schedule = schedule.clone();
            places
                .iter()
                .map(move |place| schedule.iter().copied().chain([*place]).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        longest = longest.iter().flat_map(one_more).collect();
        schedules.extend(longest.iter().cloned());
    }
    schedules
}

/// Sections, and what proptest makes smaller ones of.
struct Batch<T> {
    cases: Vec<Case>,
    trees: Vec<T>,
    /// How many show each flaw.
    seen: [usize; Flaw::ALL.len()],
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self { cases: Vec::new(), trees: Vec::new(), seen: [0; Flaw::ALL.len()] }
    }
}

impl<T> Batch<T> {
    fn add(&mut self, case: Case, tree: T) {
        for (flaw, seen) in Flaw::ALL.iter().zip(&mut self.seen) {
            *seen += usize::from(case.shows(*flaw));
        }
        self.cases.push(case);
        self.trees.push(tree);
    }

    fn shows_everything(&self) -> bool {
        self.seen.iter().all(|seen| *seen >= LEAST_SEEN)
    }

    /// `true` if the section shows something that hardly another one does.
    fn lacks(&self, case: &Case) -> bool {
        Flaw::ALL.iter().zip(&self.seen).any(|(flaw, seen)| *seen < LEAST_SEEN && case.shows(*flaw))
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
        let debug = debug.join().expect("building doesn't panic");
        for built in [debug, release, program.build(Profile::Model)] {
            built.unwrap_or_else(|error| panic!("the sections don't compile:\n{error}"));
        }
    });
    let requests: Vec<Request<'_>> = (0..cases.len())
        .flat_map(|section| cases[section].inputs.iter().map(move |input| Request { section, input, aborts: &[] }))
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
    let unlike = unlike(&requests, &expected, &replies);
    let failed = unlike.map(|number| failure(cases, &requests[number], expected[number], number, &RUNS, &replies));
    failed.or_else(|| check_aborted(&program, cases))
}

/// Runs the sections in the model, aborted in every way; the first that fails.
fn check_aborted(program: &Program, cases: &[Case]) -> Option<Failure> {
    let runs: Vec<(usize, &Aborted)> = cases
        .iter()
        .enumerate()
        .flat_map(|(section, case)| case.aborted.iter().map(move |run| (section, run)))
        .collect();
    let requests: Vec<Request<'_>> = runs
        .iter()
        .map(|(section, run)| Request {
            section: *section,
            input: &cases[*section].inputs[run.input],
            aborts: &run.aborts,
        })
        .collect();
    let expected: Vec<&Outcome> = runs.iter().map(|(_, run)| &run.expected).collect();
    let model = [(Profile::Model, program::Mode::Default)];
    let replies = model.map(|run| program.run(run, &requests));
    println!("{} runs in the model", requests.len());
    let number = unlike(&requests, &expected, &replies)?;
    Some(failure(cases, &requests[number], expected[number], number, &model, &replies))
}

/// The first request that wasn't answered as expected.
fn unlike(requests: &[Request<'_>], expected: &[&Outcome], replies: &[program::Replies]) -> Option<usize> {
    let is_right = |number: usize, replies: &program::Replies| {
        let reply = replies.outcomes.get(number);
        reply.is_some_and(|(outcome, fault)| outcome == expected[number] && *fault == Fault::None)
    };
    (0..requests.len()).find(|number| !replies.iter().all(|replies| is_right(*number, replies)))
}

/// Describes what one section did with one memory, in every build and mode.
fn failure(
    cases: &[Case],
    request: &Request<'_>,
    expected: &Outcome,
    number: usize,
    runs: &[(Profile, program::Mode)],
    replies: &[program::Replies],
) -> Failure {
    let before = &request.input.image;
    let source = print::function(&cases[request.section].section);
    let mut text = format!(
        "section {}, aborted after these half statements: {:?}\n{source}\nx = {:#x?}\nmemory:{}\n\nexpected: {}\n",
        request.section,
        request.aborts,
        request.input.arguments,
        image::listed(before, &source),
        outcome(expected, before)
    );
    for (run, replies) in runs.iter().zip(replies) {
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
fn shrink(tree: &mut impl ValueTree<Value = Section>, inputs: &[Input], first: &Failure) -> String {
    let mut smallest = first.text.clone();
    // A change may be of a number that decides nothing: then the section is one that was tried
    // before.
    let mut tried = BTreeMap::from([(print::function(&tree.current()), true)]);
    let mut rebuilds = 0;
    let mut is_other = tree.simplify();
    while is_other && rebuilds < MOST_REBUILDS {
        let section = tree.current();
        let source = print::function(&section);
        let fails = tried.get(&source).copied().unwrap_or_else(|| {
            rebuilds += 1;
            let failure = check("random-section", &[Case::of(section, inputs.to_vec())]);
            let fails = failure.is_some();
            if let Some(failure) = failure {
                smallest = failure.text;
            }
            tried.insert(source, fails);
            fails
        });
        is_other = if fails { tree.simplify() } else { tree.complicate() };
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

/// The control: had the macro one of these flaws, there would be sections that show it.
fn every_flaw_is_seen(cases: &[Case]) {
    let mut unseen = Vec::new();
    for flaw in Flaw::ALL {
        let seen = cases.iter().filter(|case| case.shows(*flaw)).count();
        println!("{flaw:?} would be seen by {seen} sections");
        if seen < LEAST_SEEN {
            unseen.push(flaw);
        }
    }
    assert!(unseen.is_empty(), "hardly a section shows {unseen:?}");
}
