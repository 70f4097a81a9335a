//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use rseq_bench::contenders::{STRUCTURES, Structure};
use rseq_bench::measuring::{Plan, available_cpus};

/// Compares sections, and the types that are made of them, with what else does the same.
///
/// With `RSEQ_LIBRSEQ` naming a folder with librseq's sources, its sections, in C, take part.
#[derive(Parser)]
#[command(name = "rseq-bench", args_override_self = true, args_conflicts_with_subcommands = true)]
pub struct Program {
    #[command(flatten)]
    pub arguments: Arguments,
    #[command(subcommand)]
    pub task: Option<Task>,
}

#[derive(Subcommand)]
pub enum Task {
    /// Draws pictures of what was measured
    Pictures {
        /// The measurements, in files separated by commas
        #[arg(long, value_name = "FILE,..", value_delimiter = ',', default_value = "target/bench.csv")]
        csv: Vec<PathBuf>,
        /// Where the pictures go
        #[arg(long, value_name = "DIR", default_value = "docs/performance")]
        out: PathBuf,
    },
}

#[derive(Args)]
pub struct Arguments {
    /// Structures, separated by commas; `memory` measures bytes [default: all]
    #[arg(long, value_name = "S,..", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Threads, separated by commas [default: 1, the CPUs, four times as many]
    #[arg(long, value_name = "N,..", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=10_000))]
    threads: Vec<u16>,
    /// How often each process measures all contenders; by very many threads a third as often
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..))]
    pub blocks: u32,
    /// In how many processes, one after the other: where memory lies, which each finds anew, may
    /// change what an operation takes
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub processes: u32,
    /// Milliseconds that a contender runs in a block, about
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    slice: u64,
    /// Compare with this contender instead of each structure's first, where a structure has it
    #[arg(long, value_name = "CONTENDER")]
    pub relative_to: Option<String>,
    /// Write the measurements there
    #[arg(long, value_name = "FILE", default_value = "target/bench.csv")]
    pub csv: PathBuf,
    /// Print the structures and their contenders, and measure nothing
    #[arg(long)]
    pub list: bool,
    /// The order to processes that this program starts: they measure, and print nothing
    #[arg(long, hide = true)]
    pub only_measure: bool,
}

/// Stands among the structures, but has no contenders.
pub const MEMORY: &str = "memory";

fn names() -> Vec<&'static str> {
    STRUCTURES.iter().map(|structure| structure.name).chain([MEMORY]).collect()
}

impl Arguments {
    /// Says that it was asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// The structures that were asked for.
    pub fn structures(&self) -> Vec<&'static Structure> {
        STRUCTURES.iter().filter(|structure| self.wants(structure.name)).collect()
    }

    /// The numbers of threads, each once.
    pub fn threads(&self) -> Vec<usize> {
        let cpus = available_cpus().len();
        let mut threads = match &self.threads[..] {
            [] => vec![1, cpus, 4 * cpus],
            chosen => chosen.iter().map(|&threads| threads.into()).collect(),
        };
        threads.sort_unstable();
        threads.dedup();
        threads
    }

    /// A plan for so many threads.
    pub fn plan(&self, threads: usize) -> Plan {
        // A thousand threads take seconds until all of them had their turn.
        let blocks = if threads > 64 * available_cpus().len() { self.blocks.div_ceil(3) } else { self.blocks };
        Plan { blocks: blocks as usize, threads, slice: Duration::from_millis(self.slice) }
    }
}
