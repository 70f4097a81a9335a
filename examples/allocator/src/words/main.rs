//! A job that allocates all the time, on JSON and text, by the allocator that its environment
//! names: `ALLOCATOR=system`, or `percpu`, which it is without.
//!
//! ```text
//! cargo run --release -p rseq-allocator -- run --threads 2 FILE...
//! cargo run --release -p rseq-allocator -- compare --threads 1,2,8 FILE...
//! ```
//!
//! `run` does the job once: its results are on the standard output, the time that it took on the
//! standard error. `compare` runs it by all allocators in turn, sees that the results are the same,
//! and prints the medians of the times. With the feature `peers` mimalloc and jemalloc take part.

mod choice;
mod compare;
mod input;
mod job;

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use choice::Choice;
use input::Input;

#[global_allocator]
static ALLOCATOR: Choice = Choice::new();

/// Parses JSON, counts words, and writes JSON: by the system's allocator or by one with small
/// objects per CPU.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Does the job once, by the allocator that the variable ALLOCATOR names
    Run {
        /// How many threads work
        #[arg(long, default_value_t = 2, value_parser = positive)]
        threads: usize,
        #[command(flatten)]
        texts: Texts,
    },
    /// Does the job by all allocators in turn, and prints the medians
    Compare {
        /// How often each allocator has its turn
        #[arg(long, default_value_t = 9, value_parser = positive)]
        runs: usize,
        /// How many threads work: a table has a row for each number
        #[arg(long, value_delimiter = ',', default_value = "1,2,8", value_parser = positive)]
        threads: Vec<usize>,
        #[command(flatten)]
        texts: Texts,
    },
}

/// The input of the job.
#[derive(Args)]
struct Texts {
    /// How many records are made up, if no file is named
    #[arg(long, default_value_t = 20_000)]
    records: usize,
    /// Files of text, each line of which becomes a record
    files: Vec<PathBuf>,
}

/// A number that isn't 0.
fn positive(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "not a number from 1 on".to_owned())
}

fn main() -> Result<(), Box<dyn Error>> {
    match Arguments::parse().command {
        Command::Run { threads, texts } => run(threads, &texts),
        Command::Compare { runs, threads, texts } => compare::compare(runs, &threads, &texts),
    }
}

fn run(threads: usize, texts: &Texts) -> Result<(), Box<dyn Error>> {
    let input = if texts.files.is_empty() { Input::made_up(texts.records) } else { Input::of_files(&texts.files)? };
    let start = Instant::now();
    let results = job::run(&input, threads);
    let time = start.elapsed();
    print!("{results}");
    eprintln!("{}: {threads} threads, {:.1} ms", ALLOCATOR.name(), time.as_secs_f64() * 1e3);
    drop((input, results));
    if let Some(trimmed) = ALLOCATOR.trim() {
        eprintln!("{} objects were kept, and are given back", trimmed?);
    }
    Ok(())
}
