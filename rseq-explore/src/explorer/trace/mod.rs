//! The way through an exploration: find the points, and have each event happen at each of them, in
//! a child of its own.

mod arch;
mod case;
mod child;
mod orders;
mod places;
mod points;
mod subject;
mod tracee;
mod windows;

use std::io::{self, IsTerminal};
use std::mem::offset_of;

use indicatif::{ProgressBar, ProgressStyle};
use rseq::abi::Rseq;

use self::case::{Exploration, describe};
use self::child::Cpus;
use self::subject::Subject;
use self::tracee::Trouble;
use self::windows::Windows;
use super::plan::{Event, Plan};
use super::report::{Failure, Report};

/// Explores the section; what was covered and what went wrong goes into the report.
///
/// # Panics
/// If the system refuses to trace a child.
pub(super) fn explore<R: Send + Sync, Q: Send + Sync>(plan: &Plan<'_, R, Q>, report: &mut Report) {
    let Some(cpus) = Cpus::available() else { return report.skip("the process may use no CPU".into()) };
    child::note_panics_in_children();
    match every_case(plan, cpus, report) {
        Ok(()) => {}
        Err(Trouble::System(error)) => panic!("a child can't be traced: {error}"),
        Err(Trouble::Died(how)) => report.fail(Failure::before(how)),
        Err(Trouble::Hung(when)) => report.fail(Failure::before(format!("it made no progress {when}"))),
    }
}

fn every_case<R: Send + Sync, Q: Send + Sync>(
    plan: &Plan<'_, R, Q>,
    cpus: Cpus,
    report: &mut Report,
) -> Result<(), Trouble> {
    let (work, windows, rseq_cs) = (&plan.work, &Windows::of_this_process(), rseq_cs());
    let points = points::find(windows, rseq_cs, || Subject::begin(work, cpus))?;
    report.found(points.iter().map(|point| (point.phase, describe(point.address))).collect());
    let exploration = Exploration { work, windows, rseq_cs, cpus };
    places::look(&exploration, &points, report)?;
    if !plan.to_the_end && !report.failures().is_empty() {
        return Ok(());
    }
    let bar = progress(&plan.name, points.len() * plan.events.len());
    'cases: for (number, point) in points.iter().enumerate() {
        for &event in &plan.events {
            bar.inc(1);
            if cpus.second.is_none() && matches!(event, Event::Migration | Event::Fence) {
                report.without_second_cpu();
                continue;
            }
            report.add(number, event, exploration.case(point, event)?);
            if !plan.to_the_end && !report.failures().is_empty() {
                break 'cases;
            }
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Where the kernel looks for the calling thread's descriptor. A child has it in the same place.
fn rseq_cs() -> u64 {
    (rseq::__private::area().addr() + offset_of!(Rseq, rseq_cs)) as u64
}

/// A bar, if somebody looks.
fn progress(name: &str, cases: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {elapsed}");
    ProgressBar::new(cases as u64).with_message(name.to_owned()).with_style(style.expect("the template is valid"))
}
