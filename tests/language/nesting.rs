//! Sections that can't end, or that stop being one: in debug builds they panic, naming themselves.
//! (Release builds have nothing of it: see "What `prepare` must not do".)
#![cfg(debug_assertions)]

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use rseq::{Counter, PerCpu, rseq};
use support::{forced_portable, in_processes, with_own_registration};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

/// The message of the panic that this ends in, and the line of this file that it names.
fn panic_of(work: impl FnOnce()) -> Option<(String, String)> {
    let panic = support::panic_of(work)?;
    let line = include_str!("nesting.rs").lines().nth(panic.line as usize - 1).filter(|_| panic.file == file!());
    Some((panic.message, line.unwrap_or_default().to_owned()))
}

/// A section runs a counter's, which is all window.
fn a_counter_inside() {
    static INNER: Counter = Counter::new();
    rseq! {
        prepare |cpu| {
            INNER.inc();
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}

/// A section runs one with a `prepare` of its own.
fn a_section_inside() {
    fn inner() {
        rseq! {
            prepare |cpu| { let slot = &HITS[cpu]; let next = slot.load(Relaxed); }
            commit store(slot, next)
        }
    }
    rseq! {
        prepare |cpu| {
            inner();
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
        abort { }
    }
}

#[test]
fn a_section_that_runs_another_each_time_panics() {
    HITS.allocate().unwrap();
    for work in [a_counter_inside, a_section_inside] {
        let (message, line) = panic_of(work).expect("it never ends otherwise");
        assert!(message.contains("`prepare` runs another section each time"), "{message}");
        assert!(line.contains("rseq! {"), "it names the section: {line}");
        // Nothing is left behind.
        let before = hits();
        rseq! { commit |cpu| add(&HITS[cpu], 1) }
        assert_eq!(hits(), before + 1);
    }
}

/// A section that runs another one now and then, as a first use does, commits in between.
#[test]
fn now_and_then_is_no_mistake() {
    static INNER: Counter = Counter::new();
    let before = hits();
    for round in 0..300_000_u64 {
        let mut first = round % 2 == 0;
        rseq! {
            prepare |cpu| {
                if std::mem::take(&mut first) {
                    INNER.inc();
                }
                let slot = &HITS[cpu];
                let next = slot.load(Relaxed) + 1;
            }
            commit store(slot, next)
        }
    }
    assert!(hits() >= before + 300_000);
    assert_eq!(INNER.sum(), 150_000);
}

struct Once(bool);

impl Future for Once {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

macro_rules! pause {
    () => {
        Once(false).await
    };
}

async fn hit() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
            pause!();
        }
        commit store(slot, next)
    }
}

/// The first is suspended, and goes on when the third has armed.
#[test]
fn a_section_that_was_suspended_panics() {
    HITS.allocate().unwrap();
    let (message, line) = panic_of(|| {
        let mut context = Context::from_waker(Waker::noop());
        // An interruption in between makes it start again, and then nothing is lost.
        for _ in 0..1000 {
            let (mut first, mut second, mut third) = (pin!(hit()), pin!(hit()), pin!(hit()));
            let _ = first.as_mut().poll(&mut context);
            let _ = second.as_mut().poll(&mut context);
            while second.as_mut().poll(&mut context).is_pending() {}
            let _ = third.as_mut().poll(&mut context);
            while first.as_mut().poll(&mut context).is_pending() {}
            while third.as_mut().poll(&mut context).is_pending() {}
        }
    })
    .expect("updates are lost otherwise");
    assert!(message.contains("was suspended"), "{message}");
    assert!(line.contains("rseq! {"), "it names the section: {line}");
}

const IN_EVERY_MODE: &[&str] = &[
    "a_section_that_runs_another_each_time_panics",
    "now_and_then_is_no_mistake",
    "a_section_that_was_suspended_panics",
];

#[test]
fn with_own_registration_too() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn in_portable_mode_too() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}
