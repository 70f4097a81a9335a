//! The processes that measure.

use std::process::Command;

use anyhow::{Result, ensure};
use rseq_bench::contenders::Others;
use rseq_bench::measuring::{Measurement, Sheet, measure, read};

use crate::arguments::Arguments;

/// Measures in this process.
pub fn this(arguments: &Arguments, others: &Others, sheet: &mut Sheet) -> Result<Vec<Measurement>> {
    let mut all = Vec::new();
    for structure in arguments.structures() {
        let contenders = structure.contenders(others);
        for threads in arguments.threads() {
            let measurements = measure(structure.name, &contenders, &arguments.plan(threads));
            sheet.add(&measurements)?;
            all.extend(measurements);
        }
    }
    Ok(all)
}

/// Measures in so many processes of this program, one after the other.
pub fn several(number: u32, arguments: &Arguments, sheet: &mut Sheet) -> Result<Vec<Measurement>> {
    let folder = tempfile::tempdir()?;
    let mut all = Vec::new();
    for number in 0..number {
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
