//! The types of the crate beside those of other crates and of the standard library, in one run.
//!
//! ```text
//! cargo run --release -p rseq-bench-types
//! ```
//!
//! prints tables of ratios, in Markdown: what each takes for what the first one takes once. Ratios are medians over many rounds, in each of which all of them run in
//! a random order, one right after the other; the range is that of the middle half of the rounds. Absolute times are the machine's.

mod counters;
mod measure;
mod memory;
mod pools;
mod queues;
mod stacks;

use clap::Parser;

use measure::{Candidate, Settings, table};

/// A title, and what makes the candidates.
type Table = (&'static str, fn() -> Vec<Candidate>);

/// Compares the types of the crate with others.
#[derive(Parser)]
struct Arguments {
    /// How often each candidate runs.
    #[arg(long, default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Which tables: those whose titles contain this.
    #[arg(long, default_value = "")]
    only: String,
}

fn main() {
    let arguments = Arguments::parse();
    let all = measure::available_cpus();
    println!("{}\n", rseq::status());
    let tables: [Table; 6] = [
        ("Counter: one over and over", || counters::candidates(1)),
        ("Counter: 64 in turn", || counters::candidates(64)),
        ("Pool: take, return", pools::candidates),
        ("Pool: take four, return them", pools::four),
        ("Stack: push, pop", stacks::candidates),
        ("Ring: push 16, take them", queues::candidates),
    ];
    for (title, candidates) in tables {
        if !title.contains(&arguments.only) {
            continue;
        }
        for (by, cpus) in [("one thread", &all[..1]), ("a thread on each CPU", &all[..])] {
            let settings = Settings { rounds: arguments.rounds as usize, cpus };
            println!("{}", table(&format!("{title}, by {by}"), candidates(), &settings));
        }
    }
    if "Memory".contains(&arguments.only) {
        println!("{}", memory::table());
    }
}
