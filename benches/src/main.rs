//! The program: what is measured, in which processes, and the tables.
//!
//! ```text
//! cargo run --release -p rseq-bench
//! RSEQ_LIBRSEQ=../librseq cargo run --release -p rseq-bench -- --only counter --threads 1
//! cargo run --release -p rseq-bench -- pictures
//! ```

mod arguments;
mod processes;
mod tables;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use rseq_bench::contenders::{Others, memory};
use rseq_bench::measuring::{Sheet, machine};
use rseq_bench::pictures;

use arguments::{Arguments, Program, Task};

fn main() -> ExitCode {
    let Program { arguments, task } = Program::parse();
    let done = match &task {
        Some(Task::Pictures { csv, out }) => {
            pictures::draw(csv, out).map(|drawn| drawn.iter().for_each(|picture| println!("{}", picture.display())))
        }
        None if arguments.list => list(&arguments),
        None if arguments.only_measure => measure(&arguments),
        None => compare(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints the structures that were asked for, and their contenders.
fn list(arguments: &Arguments) -> Result<()> {
    print!("{}", tables::list(&arguments.structures(), &Others::find()?));
    Ok(())
}

/// Only measures, in this process, for the one that started it.
fn measure(arguments: &Arguments) -> Result<()> {
    processes::this(arguments, &Others::find()?, &mut sheet(arguments)?).map(drop)
}

/// Measures, and prints tables.
fn compare(arguments: &Arguments) -> Result<()> {
    let others = Others::find()?;
    let structures = arguments.structures();
    if let Some(reference) = &arguments.relative_to {
        tables::find(reference, &structures, &others)?;
    }
    let mut sheet = sheet(arguments)?;
    for (name, needs) in others.missing() {
        eprintln!("{name} is left out: it needs {needs}");
    }
    println!("{}\n\n{}\n", machine(), rseq::status());
    let all = match arguments.processes {
        1 => processes::this(arguments, &others, &mut sheet),
        number => processes::several(number, arguments, &mut sheet),
    }?;
    for structure in structures {
        for threads in arguments.threads() {
            let found = all.iter().filter(|one| one.structure == structure.name && one.threads == threads);
            let measurements: Vec<_> = found.cloned().collect();
            println!("{}", tables::of(structure, threads, &measurements, arguments.relative_to.as_deref()));
        }
    }
    if arguments.wants(arguments::MEMORY) {
        println!("{}", memory::table());
    }
    Ok(())
}

/// The file of measurements.
fn sheet(arguments: &Arguments) -> Result<Sheet> {
    Sheet::create(&arguments.csv, &machine()).with_context(|| format!("{} can't be written", arguments.csv.display()))
}
