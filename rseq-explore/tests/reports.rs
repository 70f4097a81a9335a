//! What the explorer says of closures that aren't what they should be, and of sections that are wrong without a mutation.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rseq::{PerCpu, rseq};
use rseq_explore::{Event, Explorer, Phase, Ran, Report};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hit() {
    rseq! { commit |cpu| add(&HITS[cpu], 1) }
}

fn sum() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

fn is_counted(ran: &Ran<'_, (), ()>) {
    assert_eq!(sum(), ran.total() as u64, "what was counted");
}

/// The first failure's words, unless nothing can be explored here.
fn first_failure(report: &Report) -> Option<String> {
    if let Some(why) = report.skipped() {
        println!("skipped: {why}");
        return None;
    }
    let failure = report.failures().first().unwrap_or_else(|| panic!("nothing is wrong: {report:#}"));
    Some(failure.what.clone())
}

fn explore(section: &(dyn Fn() + Sync), check: &(dyn Fn(&Ran<'_, (), ()>) + Sync)) -> Report {
    Explorer::new(section, &hit, check).until_failure().try_run()
}

#[test]
fn a_closure_without_a_section() {
    let what = first_failure(&explore(&|| (), &|_| ()));
    assert!(what.is_none_or(|what| what.contains("ran no section")));
}

#[test]
fn a_section_that_panics() {
    let panics = || {
        rseq! {
            prepare |cpu| {
                let slot = &HITS[cpu];
                assert!(black_box(false), "on purpose");
            }
            commit store(slot, 0)
        }
    };
    let what = first_failure(&explore(&panics, &|_| ()));
    assert!(what.is_none_or(|what| what.contains("on purpose") && what.contains("reports.rs")));
}

#[test]
fn a_check_that_was_wrong_from_the_start() {
    let what = first_failure(&explore(&hit, &|_| assert_eq!(sum(), 1000)));
    assert!(what.is_none_or(|what| what.contains("published before the commit (before the event)")));
}

/// The count is read outside of the section: what comes in between is lost.
#[test]
fn a_read_outside_of_the_section() {
    let section = || {
        let first = HITS.iter().next().expect("there is a slot");
        let next = first.load(Relaxed) + 1;
        rseq! {
            prepare |cpu| { let slot = &HITS[cpu]; }
            commit store(slot, next)
        }
    };
    let report = explore(&section, &is_counted);
    if first_failure(&report).is_some() {
        let failure = &report.failures()[0];
        assert_eq!((failure.event, failure.phase), (Some(Event::Preemption), Some(Phase::Arm)), "{report:#}");
    }
}

/// Two sections are two updates, and others see the first without the second.
#[test]
fn an_update_by_two_sections() {
    let twice = || {
        hit();
        hit();
    };
    let even = |ran: &Ran<'_, (), ()>| assert_eq!(sum(), (2 * ran.sections.len() + ran.conflicts.len()) as u64);
    let what = first_failure(&explore(&twice, &even));
    assert!(what.is_none_or(|what| what.contains("published before the commit")));
}

#[test]
fn a_report_says_what_was_covered() {
    let report = Explorer::new(&hit, &hit, &is_counted).name("hit").events(&[Event::Signal]).run();
    if report.skipped().is_none() {
        assert_eq!((report.explored(), report.not_reached()), (report.instructions(), 0), "{report:#}");
        let text = format!("{report:#}");
        assert!(text.starts_with("hit: ") && text.contains("0 wrong") && text.contains("Window"), "{text}");
    }
}
