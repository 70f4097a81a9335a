//! 64-bit PowerPC, after the Power ISA, the 64-Bit ELF V2 ABI Specification (thread pointer, TLS)
//! and the kernel's `tools/testing/selftests/rseq/rseq-ppc.h` (signature).
//!
//! The compiler sets up the TOC pointer where it needs it itself, and doesn't know that asm does:
//! so asm makes its own, from where it stands.

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0x0fe5_000b; // `twui r5, 11`, which traps
    LOADS_IN_ORDER = false;  // a branch puts no order between two loads
    TLS = Tls::Above { gap: 0, displacement: 0x7000 };
    SELECTS = true;
    thread_block(".long {signature}", "trap", ".quad 22b, 0, 22b");
    thread_pointer("mr {pointer}, 13", nomem);
    from_thread_pointer("add {address}, {distance}, 13");
}
