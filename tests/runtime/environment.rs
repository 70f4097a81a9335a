//! The first section beside others: beside threads that change the environment, and that hold
//! locks.
#![cfg(target_os = "linux")]

use std::ffi::CString;
use std::hint::spin_loop;
use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::Relaxed};
use std::sync::{Barrier, OnceLock};
use std::thread;

use rseq::{Counter, fence::quiesce};
use support::{forced_portable, here, in_processes, mode, must_pass, refused, this_test, with_own_registration};

/// So many first sections, each in a process of its own: by `getenv`, one in twenty died.
const PROCESSES: u32 = 200;

#[test]
fn the_environment_may_change_meanwhile() {
    let mode = format!("{:?}", mode());
    for _ in 0..PROCESSES {
        must_pass(this_test(here!("a_first_section_while_the_environment_changes"), &mode));
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
            // SAFETY: only the standard library reads the environment here, which takes its lock,
            // and the section beside this, which is what is asked.
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
    in_processes(module_path!(), with_own_registration, &name);
    in_processes(module_path!(), forced_portable, &name);
    in_processes(module_path!(), refused, &name);
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

/// A shared object whose constructor says that it runs, and waits: under the lock of the dynamic
/// loader. Ends of two pipes are in the environment.
const WAITING: &str = r#"
    #include <stdlib.h>
    #include <unistd.h>
    __attribute__((constructor)) static void wait_for_the_others(void) {
        char byte = 0;
        if (write(atoi(getenv("SAYS")), &byte, 1) != 1 || read(atoi(getenv("WAITS")), &byte, 1) != 1) abort();
    }
"#;

/// A handler may run the first section on top of a thread that loads something.
#[test]
fn first_sections_wait_for_no_loader() {
    if !std::process::Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return println!("skipped: there is no cc");
    }
    let mode = format!("{:?}", mode());
    let name = here!("a_first_section_beside_a_loader");
    must_pass(this_test(name, &mode));
    must_pass(with_own_registration(name));
    must_pass(forced_portable(name));
}

#[test]
#[ignore = "run by `first_sections_wait_for_no_loader`"]
fn a_first_section_beside_a_loader() {
    static COUNTER: Counter = Counter::new();
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let [source, library] = ["waiting.c", "waiting.so"].map(|name| folder.path().join(name));
    std::fs::write(&source, WAITING).expect("there is room for it");
    let mut compile = std::process::Command::new("cc");
    assert!(
        compile.args(["-shared", "-fPIC", "-o"]).args([&library, &source]).status().expect("cc is there").success()
    );
    let library = CString::new(library.as_os_str().as_encoded_bytes()).expect("no path has a NUL");
    let ((mut says, to_say), (to_wait, mut waits)) = (pipe().expect("two more"), pipe().expect("two more"));
    // SAFETY: nobody else reads the environment.
    unsafe {
        std::env::set_var("SAYS", to_say.as_raw_fd().to_string());
        std::env::set_var("WAITS", to_wait.as_raw_fd().to_string());
    }
    let ask_the_loader = || {
        // SAFETY: looks a name up.
        assert!(unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__no_such_name".as_ptr()) }.is_null());
    };
    let (all_are_there, it_loads) = (Barrier::new(3), Barrier::new(3));
    let (has_counted, has_asked, asker) = (AtomicBool::new(false), AtomicBool::new(false), AtomicI32::new(0));
    // SAFETY: ends the process if somebody waits for ever.
    unsafe { libc::alarm(100) };
    thread::scope(|scope| {
        // Threads ask the loader as they start, and may do so as they end.
        scope.spawn(|| {
            all_are_there.wait();
            // SAFETY: its constructor is the one above.
            assert!(!unsafe { libc::dlopen(library.as_ptr(), libc::RTLD_NOW) }.is_null());
        });
        scope.spawn(|| {
            all_are_there.wait();
            it_loads.wait();
            in_a_handler(|| COUNTER.inc());
            has_counted.store(true, Relaxed);
        });
        // The control: who does ask the loader waits for that lock.
        scope.spawn(|| {
            all_are_there.wait();
            it_loads.wait();
            // SAFETY: has no precondition.
            asker.store(unsafe { libc::gettid() }, Relaxed);
            ask_the_loader();
            has_asked.store(true, Relaxed);
        });
        assert_eq!(says.read(&mut [0]).expect("it says so"), 1);
        it_loads.wait();
        while !has_counted.load(Relaxed) {
            thread::yield_now();
        }
        while !has_asked.load(Relaxed) && !waits_for_a_lock(asker.load(Relaxed)) {
            thread::yield_now();
        }
        let had_asked = has_asked.load(Relaxed);
        assert_eq!(waits.write(&[0]).expect("it reads"), 1);
        assert!(!had_asked, "the loader had no lock, so nothing is proven");
    });
    assert_eq!(COUNTER.sum(), 1);
    mode();
}

/// `true` if that thread of this process sleeps in `futex`.
fn waits_for_a_lock(thread: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/self/task/{thread}/syscall")).unwrap_or_default();
    call.split(' ').next() == Some(&libc::SYS_futex.to_string())
}

/// Does it in a handler on top of the calling thread.
fn in_a_handler(work: fn()) {
    static WORK: OnceLock<fn()> = OnceLock::new();
    extern "C" fn handler(_: libc::c_int) {
        WORK.get().expect("it was set")();
    }
    WORK.set(work).expect("once");
    // SAFETY: a handler that does what is to be shown fit for it.
    unsafe {
        libc::signal(libc::SIGUSR1, handler as *const () as libc::sighandler_t);
        libc::raise(libc::SIGUSR1);
    }
}
