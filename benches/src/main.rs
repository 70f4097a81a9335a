//! Sections and the types that are made of them, beside everything else that does the same:
//! unprotected, by hand, by librseq, by the standard library, by other crates, in one run.
//!
//! ```text
//! cargo run --release -p rseq-bench
//! RSEQ_LIBRSEQ=../librseq cargo run --release -p rseq-bench -- --only counter --threads 1
//! ```
//!
//! prints tables in Markdown and writes each measurement to a file, from which `cargo xtask
//! bench-report` draws pictures. docs/performance.md says how to read both.

mod aborts;
mod buffers;
mod counters;
mod librseq;
mod lists;
mod memory;
mod pools;
mod queues;
mod telemetry;

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use rseq_bench_harness::{Contender, Measurement, Plan, Sheet, available_cpus, by_hand, machine, measure, read, table};

use librseq::Librseq;

/// The operations of the example.
#[allow(dead_code, reason = "not all are measured")]
#[path = "../../../examples/operations"]
mod operations {
    use rseq::rseq;

    #[path = "librseq.rs"]
    pub mod librseq;
    #[path = "slab.rs"]
    pub mod slab;
}

/// What isn't to be had everywhere.
pub struct Others {
    by_hand: bool,
    librseq: Option<Librseq>,
}

/// What an operation is done to: how files call it, what the operation is, and what makes the
/// contenders, the first of which others are compared with.
struct Structure {
    name: &'static str,
    operation: &'static str,
    contenders: fn(&Others) -> Vec<Contender>,
}

const STRUCTURES: [Structure; 12] = [
    Structure { name: "counter", operation: "add to one, over and over", contenders: counters::one },
    Structure { name: "counters", operation: "add to 64 in turn", contenders: counters::in_turn },
    Structure { name: "list", operation: "pop and push", contenders: lists::contenders },
    Structure { name: "buffer", operation: "pop and push a word", contenders: buffers::words },
    Structure { name: "records", operation: "pop and push three words", contenders: buffers::records },
    Structure { name: "pool", operation: "take and return", contenders: pools::one },
    Structure { name: "pool-four", operation: "take four and return them", contenders: pools::four },
    Structure { name: "ring", operation: "push 16 and take them", contenders: queues::contenders },
    Structure { name: "otel-counter", operation: "add to a metric", contenders: telemetry::counters },
    Structure { name: "otel-histogram", operation: "record to a metric", contenders: telemetry::histograms },
    Structure { name: "aborts", operation: "sections with longer and longer prepares", contenders: aborts::contenders },
    Structure {
        name: "aborts-signals",
        operation: "the same, with a signal each 100 µs",
        contenders: aborts::signalled,
    },
];

/// Compares sections, and the types that are made of them, with what else does the same.
///
/// With `RSEQ_LIBRSEQ` naming a folder with librseq's sources, its sections, in C, take part.
#[derive(Parser)]
#[command(name = "rseq-bench", args_override_self = true)]
struct Arguments {
    /// Structures, separated by commas; `memory` measures bytes [default: all]
    #[arg(long, value_name = "S,..", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Threads, separated by commas [default: 1, the CPUs, four times as many]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=10_000))]
    threads: Vec<u16>,
    /// How often each process measures all contenders; by very many threads a third as often
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    blocks: u32,
    /// In how many processes, one after the other: where memory lies, which each finds anew, may
    /// change what an operation takes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    processes: u32,
    /// Milliseconds that a contender runs in a block, about
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    slice: u64,
    /// Compare with this contender instead of each structure's first
    #[arg(long, value_name = "CONTENDER")]
    relative_to: Option<String>,
    /// Write the measurements there
    #[arg(long, value_name = "FILE", default_value = "target/bench.csv")]
    csv: PathBuf,
    /// What this program says to the processes that it starts: they measure, and print nothing
    #[arg(long, hide = true)]
    only_measure: bool,
}

fn names() -> Vec<&'static str> {
    STRUCTURES.iter().map(|structure| structure.name).chain(["memory"]).collect()
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    fn threads(&self) -> Vec<usize> {
        let cpus = available_cpus().len();
        let mut threads = match &self.threads[..] {
            [] => vec![1, cpus, 4 * cpus],
            chosen => chosen.iter().map(|&threads| threads.into()).collect(),
        };
        threads.sort_unstable();
        threads.dedup();
        threads
    }

    fn plan(&self, threads: usize) -> Plan {
        // A thousand threads take seconds until all of them had their turn.
        let blocks = if threads > 64 * available_cpus().len() { self.blocks.div_ceil(3) } else { self.blocks };
        Plan { blocks: blocks as usize, threads, slice: Duration::from_millis(self.slice) }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let machine = machine();
    let mut sheet = Sheet::create(&arguments.csv, &machine)
        .with_context(|| format!("{} can't be written", arguments.csv.display()))?;
    if arguments.only_measure {
        return here(&arguments, &mut sheet).map(drop);
    }
    println!("{machine}\n\n{}\n", rseq::status());
    let all =
        if arguments.processes > 1 { in_processes(&arguments, &mut sheet) } else { here(&arguments, &mut sheet) }?;
    for structure in &STRUCTURES {
        for threads in arguments.threads() {
            let found = all.iter().filter(|one| one.structure == structure.name && one.threads == threads);
            let measurements: Vec<_> = found.cloned().collect();
            if !measurements.is_empty() {
                println!("{}: {}, {threads} threads:\n", structure.name, structure.operation);
                println!(
                    "{}",
                    table(&measurements, arguments.relative_to.as_ref().unwrap_or(&measurements[0].contender))
                );
            }
        }
    }
    if arguments.wants("memory") {
        println!("{}", memory::table());
    }
    Ok(())
}

/// Measures in this process.
fn here(arguments: &Arguments, sheet: &mut Sheet) -> Result<Vec<Measurement>> {
    let others = Others { by_hand: by_hand::is_available(), librseq: Librseq::load()? };
    if !others.by_hand {
        eprintln!("sections by hand are left out: they need a libc that registers threads");
    }
    let mut all = Vec::new();
    for structure in STRUCTURES.iter().filter(|structure| arguments.wants(structure.name)) {
        let contenders = (structure.contenders)(&others);
        if let Some(name) = &arguments.relative_to {
            ensure!(
                contenders.iter().any(|one| one.name == *name),
                "no contender of {} is called {name:?}",
                structure.name
            );
        }
        for threads in arguments.threads() {
            let measurements = measure(structure.name, &contenders, &arguments.plan(threads));
            sheet.add(&measurements)?;
            all.extend(measurements);
        }
    }
    Ok(all)
}

/// Measures in processes of this program.
fn in_processes(arguments: &Arguments, sheet: &mut Sheet) -> Result<Vec<Measurement>> {
    let folder = tempfile::tempdir()?;
    let mut all = Vec::new();
    for number in 0..arguments.processes {
        let csv = folder.path().join(number.to_string());
        let mut process = Command::new(std::env::current_exe()?);
        // Of an option that is given twice the second one counts.
        process.args(std::env::args_os().skip(1)).arg("--only-measure").arg("--csv").arg(&csv);
        let status = process.status()?;
        ensure!(status.success(), "{process:?} ended with {status}");
        let (_, mut measurements) = read(&csv)?;
        measurements.iter_mut().for_each(|one| one.block += (number * arguments.blocks) as usize);
        sheet.add(&measurements)?;
        all.extend(measurements);
    }
    Ok(all)
}
