//! Arm, in ARM state from version 7 on, after the Arm Architecture Reference Manual (DDI 0406; DDI
//! 0487 for its AArch32), "ELF for the Arm Architecture" and "Addenda to the ABI" (TLS, thread
//! pointer) and the kernel's `tools/testing/selftests/rseq/rseq-arm.h` (signature).
//!
//! The build script leaves other versions, and Thumb, in portable mode: a read of `pc` gives the
//! address of the instruction and 8 in ARM state alone.

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0xe7f5_def3; // `udf #24035`, which traps
    LOADS_IN_ORDER = false;  // a branch puts no order between two loads
    TLS = Tls::Above { gap: 8, displacement: 0 };
    SELECTS = true;
    thread_block(".inst {signature}", "udf #0", ".long 22b, 0, 0, 0, 22b, 0");
    thread_pointer("mrc p15, 0, {pointer}, c13, c0, 3", nomem);
    from_thread_pointer(
        "mrc p15, 0, lr, c13, c0, 3", // lr = the thread pointer: a register that the cold path's calls take anyway
        "add {address}, {distance}, lr";
        "lr"
    );
}
