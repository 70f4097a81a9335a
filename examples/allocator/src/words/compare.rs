//! The job by both allocators in turn, in processes of their own.

use std::env;
use std::error::Error;
use std::process::Command;

use super::Texts;
use super::choice::{NAMES, VARIABLE};

/// Prints a table with a row for each number of threads.
pub fn compare(runs: usize, threads: &[usize], texts: &Texts) -> Result<(), Box<dyn Error>> {
    println!("medians of {runs} runs each\nthreads   {:>10}   {:>10}   ratio", NAMES[0], NAMES[1]);
    for threads in threads {
        let [system, percpu] = medians(runs, *threads, texts)?;
        println!("{threads:>7}   {system:>7.1} ms   {percpu:>7.1} ms   {:>5.2}", percpu / system);
    }
    println!("the results are the same");
    Ok(())
}

/// The median times of both allocators, in milliseconds.
fn medians(runs: usize, threads: usize, texts: &Texts) -> Result<[f64; 2], Box<dyn Error>> {
    let mut times = [Vec::new(), Vec::new()];
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
