//! The tables that are printed, and the contender that they compare with.

use std::fmt::Write;

use anyhow::{Result, bail};
use rseq_bench::contenders::{Others, STRUCTURES, Structure};
use rseq_bench::measuring::{Measurement, table};

/// The structures, each with its contenders.
pub fn list(structures: &[&Structure], others: &Others) -> String {
    let mut list = String::new();
    for structure in structures {
        let names = structure.contenders(others).into_iter().map(|one| format!("    {}\n", one.name));
        list.extend([format!("{}: {}\n", structure.name, structure.operation)].into_iter().chain(names));
    }
    for (name, needs) in others.missing() {
        list += &format!("({name} is left out: it needs {needs})\n");
    }
    list
}

/// Fails if none of these structures has a contender of this name; says what there is instead.
pub fn find(name: &str, structures: &[&Structure], others: &Others) -> Result<()> {
    let has_it = |structure: &&&Structure| structure.contenders(others).iter().any(|one| one.name == name);
    if structures.iter().any(|structure| has_it(&structure)) {
        return Ok(());
    }
    let all: Vec<_> = STRUCTURES.iter().collect();
    let elsewhere: Vec<_> = all.iter().filter(has_it).map(|structure| structure.name).collect();
    if let Some((name, needs)) = others.missing().iter().find(|(missing, _)| *missing == name) {
        bail!("{name} can't be compared with: it needs {needs}");
    }
    if elsewhere.is_empty() {
        bail!("no contender is called {name:?}; there are\n{}", list(&all, others).trim_end());
    }
    bail!("none of these structures has a contender {name:?}; that has {}", elsewhere.join(", "))
}

/// The table of a structure by so many threads, relative to that contender if it has it.
pub fn of(structure: &Structure, threads: usize, measurements: &[Measurement], relative_to: Option<&str>) -> String {
    let first = measurements.first().map_or("", |one| &one.contender);
    let reference = relative_to.filter(|name| measurements.iter().any(|one| one.contender == *name));
    let mut text = format!("{}: {}, {threads} threads:\n\n", structure.name, structure.operation);
    if let (Some(name), None) = (relative_to, reference) {
        writeln!(text, "There is no {name} here: relative to {first}.\n").expect("a string takes everything");
    }
    text + &table(measurements, reference.unwrap_or(first))
}
