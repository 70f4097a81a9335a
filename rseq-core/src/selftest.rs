//! A test of the kernel, whether it does what sections rely on. It is made of those versions of
//! which some don't: see [`Kernel::is_suspect`].
//!
//! [`Kernel::is_suspect`]: crate::kernel::Kernel::is_suspect

use core::sync::atomic::Ordering::Relaxed;

use crate::abi::{Descriptor, Rseq};
use crate::sys;

/// True if sections may run restartably on a kernel, which is looked at only if it is suspect.
pub(crate) fn may_be_trusted(is_suspect: bool, clears: impl FnOnce() -> bool) -> bool {
    !is_suspect || clears()
}

/// True if the kernel takes a descriptor out of force when it preempts the calling thread. False
/// also if that can't be brought about.
///
/// # Safety
/// The calling thread's area, and a descriptor that may come into force.
pub(crate) unsafe fn clears(area: *mut Rseq, descriptor: *const Descriptor) -> bool {
    sys::without_signals(|| {
        let Some(rival) = sys::Rival::start() else { return false };
        // SAFETY: the caller's: an area, which lasts. Its word is ours to write, also without
        // atomics of 64 bits: its upper half is 0 all the time where addresses have 32.
        let (in_force, cpu) = unsafe { ((&raw mut (*area).rseq_cs).cast::<u64>(), &(*area).cpu_id) };
        // SAFETY: as above.
        unsafe { in_force.write_volatile(descriptor.addr() as u64) };
        // The CPU is read behind that, as in sections: if the thread is moved in between, it has
        // been disturbed already.
        let preempted = rival.takes(cpu.load(Relaxed));
        // Before any system call, which might clear it for another reason.
        // SAFETY: as above.
        let cleared = unsafe { in_force.read_volatile() } == 0;
        // SAFETY: as above.
        unsafe { in_force.write_volatile(0) };
        preempted && cleared
    })
}

#[cfg(all(test, target_os = "linux", not(miri)))]
mod tests {
    use core::mem::zeroed;
    use std::println;

    use super::{clears, may_be_trusted};
    use crate::abi::{Descriptor, FLAG_UNREGISTER, ORIGINAL_LENGTH, Rseq};
    use crate::kernel::Kernel;
    use crate::registration::{Registrar, area_at, area_distance, libc_area};
    use crate::{arch, sys};

    /// A signature, and what it is followed by: the abort handler of a window that is never run.
    static SIGNED: [u32; 2] = [0x1234_5678, 0];

    fn descriptor() -> Descriptor {
        let abort_ip = (&raw const SIGNED[1]).addr() as u64;
        Descriptor { version: 0, flags: 0, start_ip: abort_ip - 4, post_commit_offset: 4, abort_ip }
    }

    #[test]
    fn only_suspects_are_looked_at() {
        assert!(may_be_trusted(false, || unreachable!("this one needs no look")));
        assert!(may_be_trusted(true, || true));
        assert!(!may_be_trusted(true, || false));
    }

    /// To memory that isn't registered the kernel does what a broken one does to areas.
    #[test]
    fn a_kernel_that_does_nothing_is_found() {
        // SAFETY: atomics, for which zero is valid.
        let mut area: Rseq = unsafe { zeroed() };
        // SAFETY: nothing comes into force.
        assert!(!unsafe { clears(&raw mut area, &descriptor()) });
    }

    /// Of arm64 kernels those from 6.19 up to 7.0.13 are broken. (Where libc registers threads and
    /// there is no emitter, the test can do nothing.)
    #[test]
    fn this_kernel() {
        // Asked of the kernel: a program for 32-bit arm may run on it as well.
        let arm64 = ["aarch64", "armv8"].iter().any(|name| sys::machine(&mut [0; 65]).starts_with(name));
        let broken = arm64 && matches!(version(), (6, 19.., _) | (7, 0, ..=13));
        std::thread::spawn(move || {
            // SAFETY: atomics, for which zero is valid.
            let mut area: Rseq = unsafe { zeroed() };
            let register = |area, flags| {
                // SAFETY: an area of this frame, whose registration ends in it.
                unsafe { sys::rseq(area, ORIGINAL_LENGTH, flags, SIGNED[0]) }
            };
            let clears = if register(&raw mut area, 0).is_ok() {
                // SAFETY: this thread's area, as of just now.
                let clears = unsafe { clears(&raw mut area, &descriptor()) };
                register(&raw mut area, FLAG_UNREGISTER).expect("it was just registered");
                clears
            } else if let Some(distance) =
                area_distance(Registrar::Libc).filter(|_| arch::SUPPORTED && libc_area().is_some())
            {
                // SAFETY: this thread's, whose descriptor covers no window yet.
                unsafe { clears(area_at(distance), arch::some_block().cast()) }
            } else {
                return println!("skipped: needs a thread with an area");
            };
            assert_eq!(clears, !broken);
        })
        .join()
        .expect("finds it as it is");
    }

    fn version() -> (u32, u32, u32) {
        Kernel::running().map(|kernel| (kernel.major, kernel.minor, kernel.patch)).expect("Linux has a release")
    }
}
