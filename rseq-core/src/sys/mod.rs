//! The operating system, as far as it is needed. Two tables say which file answers: what is Linux's
//! own, and what every Unix has.

use crate::abi::Rseq;

/// An error number of the C library.
pub(crate) type Errno = i32;

cfg_select! {
    all(target_os = "linux", not(miri)) => {
        mod linux;
        #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
        mod loader;
        mod rival;
        pub(crate) use linux::*;
        #[cfg(all(target_env = "gnu", not(target_feature = "crt-static")))]
        #[allow(unused_imports, reason = "machines without asm don't ask")]
        pub(crate) use loader::is_being_unloaded;
        pub(crate) use rival::Rival;
    }
    _ => {
        mod no_linux;
        pub(crate) use no_linux::*;
    }
}

cfg_select! {
    all(unix, not(miri)) => {
        mod roots;
        mod unix;
        pub(crate) use unix::*;
    }
    _ => {
        mod no_unix;
        pub(crate) use no_unix::*;
    }
}

/// One more than the highest CPU id that the kernel can report; at least 1.
pub(crate) fn possible_cpus() -> u32 {
    keeping_errno(counted_cpus)
}

/// Waits in round `round` of a loop: first busily, then by giving the processor away, then asleep,
/// so that a thread of any priority lets the one that it waits for run.
pub(crate) fn wait(round: u32) {
    match round {
        0..64 => core::hint::spin_loop(),
        64..128 => yield_now(),
        _ => sleep(core::time::Duration::from_micros(50)),
    }
}
