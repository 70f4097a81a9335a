//! Signals to a thread, one after the other.

use std::mem::zeroed;
use std::ptr;
use std::sync::Once;
use std::time::Duration;

/// Interrupts the thread that made it, until it is dropped.
pub struct Signals(libc::timer_t);

impl Signals {
    /// One each time that so much time has gone by on the clock, as soon as the thread runs: there
    /// is never more than one that waits.
    pub fn every(time: Duration) -> Self {
        static HANDLED: Once = Once::new();
        HANDLED.call_once(handle);
        let time = libc::timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: time.subsec_nanos().into() };
        // SAFETY: zeroes are valid for the structures; the calls read them and write the timer.
        unsafe {
            let mut event: libc::sigevent = zeroed();
            event.sigev_notify = libc::SIGEV_THREAD_ID;
            event.sigev_signo = libc::SIGALRM;
            event.sigev_notify_thread_id = libc::gettid();
            let mut timer = zeroed();
            assert_eq!(libc::timer_create(libc::CLOCK_MONOTONIC, &mut event, &mut timer), 0, "the system has a timer");
            let interval = libc::itimerspec { it_interval: time, it_value: time };
            assert_eq!(libc::timer_settime(timer, 0, &interval, ptr::null_mut()), 0, "less than a second");
            Self(timer)
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // SAFETY: made above, and deleted once.
        unsafe { libc::timer_delete(self.0) };
    }
}

/// Does nothing, which interrupts sections all the same.
fn handle() {
    extern "C" fn on_signal(_: libc::c_int) {}
    // SAFETY: zeroes are valid for the structure; the handler has the type that goes without flags.
    unsafe {
        let mut action: libc::sigaction = zeroed();
        action.sa_sigaction = on_signal as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGALRM, &action, ptr::null_mut());
    }
}
