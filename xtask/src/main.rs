//! Tasks of the project's own: `cargo xtask matrix` runs the tests on every architecture, libc and
//! kernel that can be had here, and `cargo xtask test` on one.

mod boot;
mod build;
mod guest;
mod initramfs;
mod kernels;
mod packages;
mod platforms;
mod report;
mod run;
mod suites;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Args, Parser, Subcommand};

use crate::packages::output;
use crate::platforms::{ARCHES, Platform, platforms};
use crate::report::Report;
use crate::run::Runner;
use crate::suites::{SUITES, Suite};

/// Tasks of the project's own.
///
/// Kernels, emulators and libcs are Debian's packages, which are unpacked in a cache
/// (`RSEQ_XTASK_CACHE`, or `target/xtask`); nothing is installed. No root is needed.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Runs the tests on all platforms and prints a table
    Matrix {
        #[command(flatten)]
        chosen: Chosen,
        /// Write the table to this file after each platform: with the rows of earlier runs, where
        /// this one has none
        #[arg(long, value_name = "FILE")]
        report: Option<PathBuf>,
        /// Print the platforms, and run nothing
        #[arg(long)]
        list: bool,
    },
    /// Runs the tests on one platform, the first one that fits and can be had
    Test {
        #[command(flatten)]
        chosen: Chosen,
        /// Arguments of each test executable
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// Which platforms, and what of them; all by default.
#[derive(Args)]
struct Chosen {
    /// Architectures, separated by commas
    #[arg(long, value_name = "A,..", value_delimiter = ',', value_parser = ARCHES.map(|arch| arch.name))]
    arch: Vec<String>,
    /// Kernels, as `--list` has them: `native`, `trixie`, `6.12`, `newest`
    #[arg(long, value_name = "K,..", value_delimiter = ',')]
    kernel: Vec<String>,
    /// Suites
    #[arg(long, value_name = "SUITE,..", value_delimiter = ',', num_args = 1.., value_parser = SUITES.each_ref().map(|suite| suite.name))]
    only: Vec<String>,
}

impl Chosen {
    fn platforms(&self) -> Result<Vec<Platform>> {
        let fits = |chosen: &[String], name: &str| chosen.is_empty() || chosen.iter().any(|one| one == name);
        let all = platforms().into_iter();
        let chosen: Vec<Platform> = all
            .filter(|platform| fits(&self.arch, platform.arch.name) && fits(&self.kernel, &platform.kernel.to_string()))
            .collect();
        ensure!(!chosen.is_empty(), "no platform is of these: see `cargo xtask matrix --list`");
        Ok(chosen)
    }

    /// Those that were asked for, or else those that the platform is there for.
    fn suites(&self, platform: &Platform) -> Vec<&'static Suite> {
        let is_chosen = |suite: &&Suite| match &self.only[..] {
            [] => suite.is_of_kernels || platform.has_all_suites(),
            names => names.iter().any(|name| name == suite.name),
        };
        SUITES.iter().filter(is_chosen).collect()
    }
}

fn main() -> ExitCode {
    match perform(&Cli::parse().task) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether all went well.
fn perform(task: &Task) -> Result<bool> {
    match task {
        Task::Matrix { chosen, list: true, .. } => {
            chosen.platforms()?.iter().for_each(|platform| println!("{platform}"));
            Ok(true)
        }
        Task::Matrix { chosen, report: file, list: false } => matrix(chosen, file.as_deref()),
        Task::Test { chosen, arguments } => test(chosen, arguments),
    }
}

/// Runs all, and adds each to what is kept of the others.
fn matrix(chosen: &Chosen, file: Option<&Path>) -> Result<bool> {
    let (mut runner, host) = (Runner::new("runs", &[])?, host()?);
    for platform in &chosen.platforms()? {
        runner.run(platform, &chosen.suites(platform));
        let kept = runner.keep()?;
        file.map(|file| kept.write(file, &host)).transpose()?;
    }
    conclude(&runner.report(), chosen)
}

/// Runs the first that can be had.
fn test(chosen: &Chosen, arguments: &[String]) -> Result<bool> {
    let mut runner = Runner::new("tests", arguments)?;
    let _none_can = chosen.platforms()?.iter().any(|platform| runner.run(platform, &chosen.suites(platform)));
    conclude(&runner.report(), chosen)
}

/// Prints the report. Says whether all went well.
fn conclude(report: &Report, chosen: &Chosen) -> Result<bool> {
    println!("\n{}\n{}", report.table(), report.notes());
    let platforms = chosen.platforms()?;
    for arch in ARCHES.iter().filter(|arch| platforms.iter().any(|platform| platform.arch.name == arch.name)) {
        ensure!(report.has_run(arch.name), "no kernel of {} ran", arch.name);
    }
    Ok(!report.has_failed())
}

/// This machine, without its name.
fn host() -> Result<String> {
    let information = std::fs::read_to_string("/proc/cpuinfo").context("Linux has it")?;
    let model = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let rust = output(std::process::Command::new("rustc").arg("--version"))?;
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(format!("{cpus} CPUs ({}), {}", model.map_or("unknown", |(_, model)| model), rust.trim()))
}
