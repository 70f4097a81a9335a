//! The explorer's words on closures that aren't what they should be, and on sections that are wrong
//! without a mutation.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::hint::black_box;
use std::ptr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};

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

/// True if sections are explored here, on two CPUs; says so if a test is therefore skipped.
fn looks_at_two_cpus(report: &Report) -> bool {
    let one_cpu = report.to_string().contains("the process may use one CPU alone");
    if let Some(why) = report.skipped().or(one_cpu.then_some("the process may use one CPU alone")) {
        println!("skipped: {why}");
        return false;
    }
    true
}

/// A section counts in a place that is no CPU's. The check has nothing to complain of, because
/// nothing comes in between that would lose a count.
#[track_caller]
fn must_be_found_to_share(section: fn(), conflict: fn(), line: u32) {
    let report = Explorer::new(&section, &conflict, &|_| ()).until_failure().try_run();
    if looks_at_two_cpus(&report) {
        let [failure] = report.failures() else { panic!("not one failure: {report:#}") };
        println!("{failure}");
        let place = format!("rseq-explore/tests/reports.rs:{line}:");
        assert!(failure.what.contains(&place) && failure.what.contains("at the same time by"), "{failure}");
        assert_eq!((failure.event, failure.phase), (None, Some(Phase::Window)));
    }
}

static SHARED: AtomicU64 = AtomicU64::new(0);

#[test]
fn a_place_that_two_cpus_commit_to() {
    fn hit() {
        rseq! { commit |_cpu| add(&SHARED, 1) }
    }
    must_be_found_to_share(hit, hit, line!() - 2);
}

/// Behind a pointer that the window loads, where nothing but the machine code knows it.
#[test]
fn a_place_behind_slots_that_two_cpus_commit_to() {
    struct Slot(AtomicPtr<AtomicU64>);
    impl Default for Slot {
        fn default() -> Self {
            Self(AtomicPtr::new(ptr::from_ref(&SHARED).cast_mut()))
        }
    }
    static SLOTS: PerCpu<Slot> = PerCpu::new();
    fn hit() {
        // SAFETY: the slots point to a static.
        unsafe {
            rseq! {
                critical |cpu| { let shared = load(&SLOTS[cpu].0); }
                commit add(&*shared, 1)
            }
        }
    }
    must_be_found_to_share(hit, hit, line!() - 5);
}

#[test]
fn a_place_that_two_cpus_commit_to_after_prepare() {
    fn hit() {
        rseq! {
            prepare |_cpu| { let next = SHARED.load(Relaxed) + 1; }
            commit store(&SHARED, next)
        }
    }
    must_be_found_to_share(hit, hit, line!() - 4);
}

/// Two threads of which one stands still may have the same concurrency id: then it doesn't show.
#[test]
fn a_place_that_two_concurrency_ids_commit_to() {
    fn hit() {
        rseq! { commit |_cid: MmCid| add(&SHARED, 1) }
    }
    let report = Explorer::new(&hit, &hit, &|_| ()).until_failure().try_run();
    match report.failures() {
        [] => println!("both had the same id each time, or: {report}"),
        [failure] => assert!(failure.what.contains("at the same time by concurrency id "), "{failure}"),
        _ => panic!("{report:#}"),
    }
}

/// The slot of one CPU, whichever a section runs on. In a debug build the section itself panics.
#[test]
fn anothers_slot_that_a_section_commits_to() {
    fn hit_last() {
        rseq! { commit |_cpu| add(HITS.iter().last().expect("there is a slot"), 1) }
    }
    if cfg!(debug_assertions) {
        let what = first_failure(&explore(&hit_last, &|_| ()));
        assert!(what.is_none_or(|what| what.contains("stores to a slot of CPU ") && what.contains("reports.rs")));
    } else {
        must_be_found_to_share(hit_last, hit_last, line!() - 6);
    }
}

/// A place that another section shares with the one that is explored.
#[test]
fn a_place_that_the_conflict_commits_to() {
    fn hit() {
        rseq! { commit |_cpu| add(&SHARED, 1) }
    }
    const LINE: u32 = line!() + 2;
    fn conflict() {
        rseq! {
            prepare |_cpu| { let next = SHARED.load(Relaxed) + 1; }
            commit store(&SHARED, next)
        }
    }
    let report = Explorer::new(&hit, &conflict, &|_| ()).until_failure().try_run();
    if looks_at_two_cpus(&report) {
        let [itself, other] = report.failures() else { panic!("not two failures: {report:#}") };
        let place = format!("rseq-explore/tests/reports.rs:{}:", LINE + 1);
        assert!(other.what.contains(&place) && !itself.what.contains(&place), "not {place}: {report:#}");
    }
}

/// Each thread has its own: a section may use that by any index.
#[test]
fn places_of_threads() {
    thread_local!(static OWN: AtomicU64 = const { AtomicU64::new(0) });
    let hit = || OWN.with(|own| rseq! { commit |_cpu| add(own, 1) });
    let on_the_stack = || {
        let own = AtomicU64::new(0);
        rseq! { prepare |_cpu| { let next = own.load(Relaxed) + 1; } commit store(&own, next) }
    };
    for section in [&hit as &(dyn Fn() + Sync), &on_the_stack] {
        let report = Explorer::new(section, section, &|_| ()).events(&[]).run();
        println!("{report}");
    }
}

/// Each index has its own, in memory that isn't a `PerCpu`'s.
#[test]
fn places_of_indices() {
    static BY_CPU: LazyLock<Vec<AtomicU64>> = LazyLock::new(|| (0..rseq::slots()).map(|_| AtomicU64::new(0)).collect());
    let by_cpu = || rseq! { prepare |cpu| { let own = &BY_CPU[cpu.get()]; } commit add(own, 1) };
    let by_cid = || rseq! { prepare |cid: MmCid| { let own = &BY_CPU[cid.get()]; } commit add(own, 1) };
    for section in [&by_cpu as &(dyn Fn() + Sync), &by_cid] {
        let report = Explorer::new(section, section, &|_| ()).events(&[]).run();
        println!("{report}");
    }
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
