//! AArch64, after the Arm Architecture Reference Manual (DDI 0487), "ELF for the Arm 64-bit
//! Architecture" (TLS) and the kernel's `tools/testing/selftests/rseq/rseq-arm64.h` (signature).

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0xd428_bc00; // `brk #0x45e0`, which traps
    LOADS_IN_ORDER = false;  // a branch puts no order between two loads
    TLS = Tls::Above { gap: 16, displacement: 0 };
    SELECTS = true;
    thread_block(".inst {signature}", "brk #0", ".quad 22b, 0, 22b");
    thread_pointer("mrs {pointer}, tpidr_el0", nomem);
}
