//! Ways in which programs allocate and free, each by itself: what they take, and what memory stays
//! when all is freed.
//!
//! ```text
//! cargo run --release -p rseq-allocator --features peers --bin patterns -- compare
//! ALLOCATOR=percpu cargo run --release -p rseq-allocator --bin patterns -- run pass
//! ```
//!
//! `run` does one of them once, by the allocator that the variable ALLOCATOR names. `compare` runs
//! them by all allocators in turn, in processes of their own, and prints the medians and what they
//! are of the system's.

#[path = "../words/choice.rs"]
mod choice;
mod memory;
mod times;

use std::env;
use std::error::Error;
use std::process::Command;

use clap::{Args, Parser, Subcommand};

use choice::{Choice, NAMES, VARIABLE};

#[global_allocator]
static ALLOCATOR: Choice = Choice::new();

/// The objects that are allocated.
/// Enough objects for a time to mean something.
fn objects() -> clap::builder::RangedU64ValueParser<usize> {
    clap::builder::RangedU64ValueParser::new().range(5_000..)
}

#[derive(Args, Clone, Copy)]
struct Plan {
    /// The bytes of an object
    #[arg(long, default_value_t = 64)]
    size: usize,
    /// How many objects are allocated, about
    #[arg(long, default_value_t = 10_000_000, value_parser = objects())]
    objects: usize,
}

/// A way to allocate and free.
struct Pattern {
    name: &'static str,
    /// The unit of the numbers.
    unit: &'static str,
    run: fn(Plan) -> Vec<f64>,
    /// Times are compared; bytes are told.
    is_time: bool,
}

const NANOSECONDS: &str = "ns an object by the clock and of processors, and their ratios";
const MEGABYTES: &str = "MB at most, after all is freed, after `trim`, after `malloc_trim`";

const fn time(name: &'static str, run: fn(Plan) -> Vec<f64>) -> Pattern {
    Pattern { name, unit: NANOSECONDS, run, is_time: true }
}

const fn memory(name: &'static str, run: fn(Plan) -> Vec<f64>) -> Pattern {
    Pattern { name, unit: MEGABYTES, run, is_time: false }
}

const PATTERNS: [Pattern; 13] = [
    time("one", |plan| times::bursts(plan, 1)),
    time("burst-100", |plan| times::bursts(plan, 100)),
    time("burst-1000", |plan| times::bursts(plan, 1_000)),
    time("burst-10000", |plan| times::bursts(plan, 10_000)),
    time("burst-100000", |plan| times::bursts(plan, 100_000)),
    time("churn", times::churn),
    time("pass", times::pass),
    time("pass-round", times::pass_round),
    memory("threads-20", |plan| memory::threads(plan, 20)),
    memory("threads-2000", |plan| memory::threads(plan, 2_000)),
    memory("in-order", |plan| memory::freed(plan, memory::Order::First)),
    memory("in-reverse", |plan| memory::freed(plan, memory::Order::Last)),
    memory("at-random", |plan| memory::freed(plan, memory::Order::Random)),
];

/// Measures patterns of allocation by several allocators.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Does one once, by the allocator that the variable ALLOCATOR names, and prints its numbers
    Run {
        #[arg(value_parser = names())]
        pattern: String,
        #[command(flatten)]
        plan: Plan,
    },
    /// Does them by all allocators in turn, and prints the medians
    Compare {
        /// How often each allocator has its turn
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// Patterns, separated by commas [default: all]
        #[arg(long, value_delimiter = ',', value_parser = names())]
        only: Vec<String>,
        #[command(flatten)]
        plan: Plan,
    },
}

fn names() -> Vec<&'static str> {
    PATTERNS.iter().map(|pattern| pattern.name).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Action::Run { pattern, plan } => {
            let pattern = PATTERNS.iter().find(|one| one.name == pattern).expect("one of the names");
            let numbers: Vec<String> = (pattern.run)(plan).iter().map(|number| format!("{number:.2}")).collect();
            println!("{}", numbers.join(" "));
            eprintln!("{}, {}", ALLOCATOR.name(), pattern.unit);
            Ok(())
        }
        Action::Compare { runs, only, plan } => {
            let chosen = PATTERNS.iter().filter(|one| only.is_empty() || only.iter().any(|name| one.name == name));
            chosen.into_iter().try_for_each(|pattern| compare(pattern, runs, plan))
        }
    }
}

/// Prints the medians of a pattern by each allocator.
fn compare(pattern: &Pattern, runs: u32, plan: Plan) -> Result<(), Box<dyn Error>> {
    let mut found = [const { Vec::new() }; NAMES.len()];
    for _ in 0..runs {
        for (name, found) in NAMES.iter().zip(&mut found) {
            found.push(in_process(pattern, name, plan)?);
        }
    }
    println!("{}: {}, of {} bytes", pattern.name, pattern.unit, plan.size);
    let medians = found.map(medians);
    for (name, numbers) in NAMES.iter().zip(&medians) {
        let columns: Vec<String> = numbers.iter().map(|number| format!("{number:>10.2}")).collect();
        let ratios = numbers.iter().zip(&medians[0]).filter(|_| pattern.is_time);
        let ratios: Vec<String> = ratios.map(|(own, systems)| format!("   {:.2}", own / systems)).collect();
        println!("{name:>10}{}{}", columns.concat(), ratios.concat());
    }
    Ok(())
}

/// The numbers that a run prints.
fn in_process(pattern: &Pattern, allocator: &str, plan: Plan) -> Result<Vec<f64>, Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.env(VARIABLE, allocator).args(["run", pattern.name]);
    command.args(["--size", &plan.size.to_string(), "--objects", &plan.objects.to_string()]);
    let output = command.output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} with {allocator}: {}\n{errors}", pattern.name, output.status).into());
    }
    let text = String::from_utf8(output.stdout)?;
    Ok(text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?)
}

/// The median of each column.
fn medians(rows: Vec<Vec<f64>>) -> Vec<f64> {
    let column = |number: usize| {
        let mut column: Vec<f64> = rows.iter().map(|row| row[number]).collect();
        column.sort_by(f64::total_cmp);
        column[column.len() / 2]
    };
    (0..rows[0].len()).map(column).collect()
}
