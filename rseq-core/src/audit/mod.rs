//! The audit (feature `audit`): catches, where it happens, what `prepare` must not do and what
//! keeps sections from ending.
//!
//! **System calls.** While a section is armed, Syscall User Dispatch
//! (`Documentation/admin-guide/syscall-user-dispatch.rst`, Linux 5.11) has the kernel send `SIGSYS`
//! instead of making a call. Before each call it looks at a byte of the thread's to know whether
//! to. That byte is one of `rseq_cs` itself: audited sections arm a descriptor of their own, at an
//! address in which this byte says "block". Whatever takes the descriptor out of force puts "allow"
//! there with the same store. So calls are caught exactly while the section is armed; those of a
//! handler that interrupts `prepare` aren't, whatever signals it blocks, because the kernel cleared
//! `rseq_cs` before the handler ran.
//!
//! **Sections in sections, and abandoned ones.** A section that begins while the thread's
//! descriptor is in force begins inside another one, or that one was left without its end: the two
//! stack pointers tell. Where a handler runs a section, none is in force.
//!
//! **Places that aren't the index's own.** See [`places`].
//!
//! **What is harmless.** `prepare` may panic, and what it does on its way out of the section is its
//! own business: it commits nothing. So the first call, or the first section inside, is only noted.
//! If the section then comes to its window all the same, it starts again (it is no longer armed),
//! and now whatever it does is reported at the spot.

cfg_select! {
    rseq_audited => {
        mod attempt;
        mod dispatch;
        pub(crate) mod expansion;
        mod linux;
        mod location;
        mod memory;
        mod open;
        mod places;
        mod report;
        mod settings;
        pub(crate) use self::{attempt::Attempt, memory::State};
    }
    _ => {
        mod none;
        pub(crate) use self::none::*;
    }
}
