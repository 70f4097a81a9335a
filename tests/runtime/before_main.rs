//! The constants of windows are found ahead of `main`, and what takes locks of libc's was
//! done there. The only test of this program, so that no section has run.
#![cfg(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu"))]

use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use rseq::Counter;

type Handler = Option<unsafe extern "C" fn()>;

unsafe extern "C" {
    fn __register_atfork(prepare: Handler, parent: Handler, child: Handler, image: *const c_void) -> c_int;
}

/// How often [`pthread_atfork`] was called.
static CALLS: AtomicU32 = AtomicU32::new(0);

/// Takes the place of libc's, which takes the lock of `fork`.
#[unsafe(no_mangle)]
unsafe extern "C" fn pthread_atfork(prepare: Handler, parent: Handler, child: Handler) -> c_int {
    CALLS.fetch_add(1, Relaxed);
    // SAFETY: what libc's does, for functions of the executable.
    unsafe { __register_atfork(prepare, parent, child, std::ptr::null()) }
}

#[test]
fn what_is_needed_was_done_ahead_of_main() {
    windows_know_where_areas_are();
    portable_sections_prepare_for_forks_no_more();
}

/// If libc registers threads, where it says that their areas are.
fn windows_know_where_areas_are() {
    // Ahead of what decides the mode.
    let found = rseq::__private::area_for_windows();
    // SAFETY: looks names up, which are those of numbers in glibc.
    let [offset, size] =
        [c"__rseq_offset", c"__rseq_size"].map(|name| unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) });
    // SAFETY: null or what glibc says.
    if unsafe { size.cast::<u32>().as_ref() }.is_none_or(|size| *size == 0) {
        println!("skipped: libc doesn't register threads");
        return;
    }
    // SAFETY: as above.
    let offset = unsafe { offset.cast::<isize>().as_ref() };
    assert_eq!(found, offset.expect("glibc has it").cast_unsigned());
}

/// A handler may run the first of them, on top of `fork`.
fn portable_sections_prepare_for_forks_no_more() {
    static COUNTER: Counter = Counter::new();
    let before = CALLS.load(Relaxed);
    rseq::portable::force().expect("no section has run");
    COUNTER.inc();
    assert_eq!((COUNTER.sum(), CALLS.load(Relaxed)), (1, before));
    assert!(before > 0, "it was done by somebody");
}
