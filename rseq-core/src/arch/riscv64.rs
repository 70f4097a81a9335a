//! RISC-V with 64 bits, after the RISC-V Instruction Set Manual, the RISC-V ELF psABI (TLS, the
//! global offset table), the RISC-V Assembly Programmer's Manual (`lga`) and the kernel's
//! `tools/testing/selftests/rseq/rseq-riscv.h` (signature).

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0xf140_1073; // `csrw mhartid, zero`, which traps
    LOADS_IN_ORDER = false;  // a branch puts no order between two loads
    TLS = Tls::Above { gap: 0, displacement: 0 };
    SELECTS = false;
    thread_block(".4byte {signature}", "ebreak", ".quad 22b, 0, 22b");
    thread_pointer("mv {pointer}, tp", nomem);
    from_thread_pointer("add {address}, {distance}, tp");
}
