//! The time-slice extension: a thread that is aborted again and again asks the kernel to let it
//! finish (Linux 7.0, `Documentation/userspace-api/rseq.rst`).
//!
//! The kernel, about to take the processor from a thread whose [`request`](SliceControl::request)
//! is 1, may let it go on for some microseconds, once: it clears the request and sets
//! [`granted`](SliceControl::granted). The thread gives the processor back by
//! `rseq_slice_yield(2)`. If it doesn't, the kernel takes it, by a timer (after 5 µs, or what
//! `slice_ext_nsec` in debugfs says) or at the next system call. Whenever it schedules the thread
//! it clears both words.
//!
//! The rules that sections rely on stay as they are. A thread that was granted an extension wasn't
//! scheduled, so nobody else ran on its CPU, and its section goes on rightly. One that loses the
//! processor after all is preempted as ever: the kernel clears `rseq_cs`, or aborts the window.
//! Signals and fences get no extension.
//!
//! A section that isn't aborted has nothing to do with all this. The cold path asks, behind the
//! yield that ends a run of aborts, for the attempt that comes next, whatever section's it is. A
//! window that is repeated there comes back there, so it gives the processor back at once. A
//! section with a `prepare` goes on in its own code, which would have to look each time whether
//! there is something to be given back, with each commit: so it leaves that to the kernel. Its
//! request stays until the thread is scheduled, or lets it have the extension later; that is once
//! for each request, so not more than once in a run of aborts.
//!
//! The kernel tells in [`Rseq::flags`] what the thread can do. It sets these bits for areas of more
//! than the original length alone, and has none before 7.0.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{ORIGINAL_LENGTH, Rseq, SLICE_AVAILABLE, SLICE_ENABLED, SliceControl};
use crate::sys::{self, Errno};

/// The extension's state: threads that are aborted again and again ask the kernel to let them
/// finish, and if not, why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SliceExtension {
    /// They do.
    InUse,
    /// The mode is portable: nothing is aborted.
    NotNeeded,
    /// The kernel has none: it is older than 7.0, or built without `CONFIG_RSEQ_SLICE_EXTENSION`.
    NotInKernel,
    /// Threads are registered with the original 32 bytes, as by glibc before 2.41: the kernel
    /// extends others' slices alone.
    OriginalLength,
    /// The kernel refuses it with this error number: 524 (`ENOTSUPP`) if it was booted with
    /// `rseq_slice_ext=0`.
    Refused(i32),
}

impl fmt::Display for SliceExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse => f.write_str("yes"),
            Self::NotNeeded => f.write_str("no: nothing is aborted in portable mode"),
            Self::NotInKernel => f.write_str("no: the kernel has none (before 7.0, or not configured)"),
            Self::OriginalLength => f.write_str("no: threads are registered with the original 32 bytes"),
            Self::Refused(errno) => write!(f, "no: the kernel refuses it with errno {errno} (rseq_slice_ext=0?)"),
        }
    }
}

/// Of the calling thread, whose area is registered under this length.
pub(crate) fn state(length: u32) -> SliceExtension {
    judge(length, sys::knows_slice_extension(), sys::enable_slice_extension)
}

fn judge(length: u32, known: bool, enable: impl FnOnce() -> Result<(), Errno>) -> SliceExtension {
    match () {
        () if !known => SliceExtension::NotInKernel,
        () if length <= ORIGINAL_LENGTH => SliceExtension::OriginalLength,
        () => enable().map_or_else(SliceExtension::Refused, |()| SliceExtension::InUse),
    }
}

/// Asks for an extension on behalf of the calling thread, whose area that is, if it can have one.
pub(crate) fn request(area: &Rseq) {
    request_by(area, sys::enable_slice_extension);
}

fn request_by(area: &Rseq, enable: impl FnOnce() -> Result<(), Errno>) {
    let flags = area.flags.load(Relaxed);
    if flags & SLICE_AVAILABLE == 0 || (flags & SLICE_ENABLED == 0 && enable().is_err()) {
        return;
    }
    let SliceControl { request, granted } = &area.slice_ctrl;
    // Nothing is granted that isn't requested: if both are 0, they stay so until the store. A
    // request beside a grant is none that the kernel knows.
    if request.load(Relaxed) == 0 && granted.load(Relaxed) == 0 {
        request.store(1, Relaxed);
    }
}

/// The calling thread, whose area that is, needs no extension any more: it gives the processor back
/// if it has one.
pub(crate) fn release(area: &Rseq) {
    release_by(area, sys::slice_yield);
}

fn release_by(area: &Rseq, give_back: impl FnOnce()) {
    if area.flags.load(Relaxed) & SLICE_ENABLED == 0 {
        // Then these bytes may be another's.
        return;
    }
    let SliceControl { request, granted } = &area.slice_ctrl;
    request.store(0, Relaxed);
    if granted.load(Relaxed) != 0 {
        give_back();
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;
    use core::sync::atomic::{AtomicU8, AtomicU32};

    use super::*;
    use crate::abi::Shared64;

    /// The area of a thread, as a kernel with these flags keeps it.
    fn area(flags: u32, request: u8, granted: u8) -> Rseq {
        Rseq {
            cpu_id_start: AtomicU32::new(0),
            cpu_id: AtomicU32::new(0),
            rseq_cs: Shared64::new(0),
            flags: AtomicU32::new(flags),
            node_id: AtomicU32::new(0),
            mm_cid: AtomicU32::new(0),
            slice_ctrl: SliceControl { request: AtomicU8::new(request), granted: AtomicU8::new(granted) },
        }
    }

    /// `request` and `granted`.
    fn words(area: &Rseq) -> (u8, u8) {
        (area.slice_ctrl.request.load(Relaxed), area.slice_ctrl.granted.load(Relaxed))
    }

    const ON: u32 = SLICE_AVAILABLE | SLICE_ENABLED;

    #[test]
    fn a_request_is_made_once_and_not_beside_a_grant() {
        for (before, after) in [((0, 0), (1, 0)), ((1, 0), (1, 0)), ((0, 1), (0, 1))] {
            let area = area(ON, before.0, before.1);
            request_by(&area, || unreachable!("it is on"));
            assert_eq!(words(&area), after);
        }
    }

    #[test]
    fn a_thread_turns_it_on_before_it_asks() {
        let available = area(SLICE_AVAILABLE, 0, 0);
        let calls = Cell::new(0);
        request_by(&available, || {
            calls.set(calls.get() + 1);
            assert_eq!(words(&available), (0, 0));
            Ok(())
        });
        assert_eq!((calls.get(), words(&available)), (1, (1, 0)));
    }

    #[test]
    fn nothing_is_written_where_there_is_none() {
        let refused = area(SLICE_AVAILABLE, 0, 0);
        request_by(&refused, || Err(524));
        assert_eq!(words(&refused), (0, 0));
        // 7 is another's.
        let none = area(0, 7, 7);
        request_by(&none, || unreachable!("there is none"));
        release_by(&none, || unreachable!("there is none"));
        assert_eq!(words(&none), (7, 7));
    }

    #[test]
    fn the_processor_is_given_back_if_it_was_granted() {
        for (before, after, gives) in [((0, 0), (0, 0), 0), ((1, 0), (0, 0), 0), ((0, 1), (0, 1), 1)] {
            let area = area(ON, before.0, before.1);
            let given = Cell::new(0);
            release_by(&area, || given.set(given.get() + 1));
            assert_eq!((words(&area), given.get()), (after, gives));
        }
    }

    #[test]
    fn why_it_is_not_in_use() {
        let unasked = || unreachable!("there is nothing to ask");
        assert_eq!(judge(33, false, unasked), SliceExtension::NotInKernel);
        assert_eq!(judge(ORIGINAL_LENGTH, true, unasked), SliceExtension::OriginalLength);
        assert_eq!(judge(33, true, || Err(524)), SliceExtension::Refused(524));
        assert_eq!(judge(33, true, || Ok(())), SliceExtension::InUse);
    }
}
