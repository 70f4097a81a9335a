//! The job by all allocators in turn, in processes of their own.

use std::env;
use std::error::Error;
use std::process::Command;

use super::Texts;
use super::choice::{NAMES, VARIABLE};

/// Prints a table with a row for each number of threads: times, and what they are of the system's.
pub fn compare(runs: usize, threads: &[usize], texts: &Texts) -> Result<(), Box<dyn Error>> {
    print!("medians of {runs} runs each, in milliseconds, and ratios\nthreads");
    NAMES.iter().for_each(|name| print!("   {name:>15}"));
    println!();
    for threads in threads {
        let times = medians(runs, *threads, texts)?;
        let columns = times.map(|time| format!("   {time:>8.1} ({:.2})", time / times[0]));
        println!("{threads:>7}{}", columns.concat());
    }
    println!("the results are the same");
    Ok(())
}

/// The median times of all allocators, in milliseconds.
fn medians(runs: usize, threads: usize, texts: &Texts) -> Result<[f64; NAMES.len()], Box<dyn Error>> {
    let mut times = [const { Vec::new() }; _];
    let mut results = None;
    for _ in 0..runs {
        for (allocator, times) in NAMES.iter().zip(&mut times) {
            let (found, time) = run(allocator, threads, texts)?;
            times.push(time);
            if *results.get_or_insert_with(|| found.clone()) != found {
                return Err(format!("the results differ with {allocator}:\n{found}").into());
            }
        }
    }
    Ok(times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }))
}

/// Its results and its time in milliseconds.
fn run(allocator: &str, threads: usize, texts: &Texts) -> Result<(String, f64), Box<dyn Error>> {
    let mut command = Command::new(env::current_exe()?);
    command.env(VARIABLE, allocator).arg("run");
    command.args(["--threads", &threads.to_string(), "--records", &texts.records.to_string(), "--"]).args(&texts.files);
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(format!("with {allocator}: {}\n{errors}", output.status).into());
    }
    let time = errors.strip_prefix(allocator).and_then(|line| line.split(", ").nth(1)?.split(' ').next()?.parse().ok());
    Ok((String::from_utf8(output.stdout)?, time.ok_or("a run prints its time")?))
}
