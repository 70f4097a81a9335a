//! What the first section does beside others: it reads the environment, which may be changing.
#![cfg(target_os = "linux")]

mod support;

use std::hint::spin_loop;
use std::sync::Barrier;
use std::thread;

use rseq::{Counter, fence::quiesce};
use support::{forced_portable, in_processes, mode, must_pass, refused, this_test, with_own_registration};

/// So many first sections, each in a process of its own: by `getenv`, one in twenty died.
const PROCESSES: u32 = 200;

#[test]
fn the_environment_may_change_meanwhile() {
    let mode = format!("{:?}", mode());
    for _ in 0..PROCESSES {
        must_pass(this_test("a_first_section_while_the_environment_changes", &mode));
    }
}

#[test]
#[ignore = "run by `the_environment_may_change_meanwhile`"]
fn a_first_section_while_the_environment_changes() {
    static COUNTER: Counter = Counter::new();
    let begin = Barrier::new(2);
    thread::scope(|scope| {
        scope.spawn(|| {
            begin.wait();
            // SAFETY: only the standard library reads the environment here, which takes its lock, and
            // the section beside this, which is what is asked.
            (0..2000).for_each(|number| unsafe { std::env::set_var(format!("V{number}"), "x") });
        });
        scope.spawn(|| {
            begin.wait();
            (0..std::process::id() % 4000).for_each(|_| spin_loop());
            COUNTER.inc();
        });
    });
    assert_eq!(COUNTER.sum(), 1);
}

/// Also where no file can be opened, so that what the system says isn't to be had.
#[test]
fn first_sections_keep_errno() {
    let name = ["a_first_section_keeps_errno"];
    in_processes(with_own_registration, &name);
    in_processes(forced_portable, &name);
    in_processes(refused, &name);
}

#[test]
#[ignore = "run by `first_sections_keep_errno`"]
fn a_first_section_keeps_errno() {
    static COUNTER: Counter = Counter::new();
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: reads a structure of that type; what is open stays open.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &none) }, 0);
    // SAFETY: points to the calling thread's errno.
    let errno = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { errno.write(77) };
    COUNTER.inc();
    // The first fence is refused until the process asks for fences.
    quiesce().ok();
    // SAFETY: as above.
    assert_eq!(unsafe { errno.read() }, 77);
    mode();
}
