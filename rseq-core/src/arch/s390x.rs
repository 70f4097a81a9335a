//! s390x, after the z/Architecture Principles of Operation (SA22-7832), the ELF Application Binary
//! Interface s390x Supplement (thread pointer, TLS) and the kernel's
//! `tools/testing/selftests/rseq/rseq-s390.h` (signature).

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0xb2ff_0fff; // `trap4 4095`, which traps
    // As other CPUs see it (Principles of Operation, chapter 5, "Storage-Operand Fetch
    // References").
    LOADS_IN_ORDER = true;
    TLS = Tls::Below;
    SELECTS = true;
    thread_block(".long {signature}", "trap4 0", ".quad 22b, 0, 22b");
    thread_pointer(
        "ear {pointer}, %a0",            // pointer = the thread pointer's upper half
        "sllg {pointer}, {pointer}, 32", // pointer = the same, where it belongs
        "ear {pointer}, %a1",
        nomem
    );
}
