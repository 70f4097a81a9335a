//! LoongArch with 64 bits, after the LoongArch Reference Manual (volume 1), the LoongArch ELF psABI
//! (TLS, the global offset table, `la.got`) and the kernel's
//! `tools/testing/selftests/rseq/rseq-loongarch.h` (signature).

use super::machine::{Tls, machine};

machine! {
    SIGNATURE = 0x002a_0010; // `break 0x10`, which traps
    LOADS_IN_ORDER = false;  // a branch puts no order between two loads
    TLS = Tls::Above { gap: 0, displacement: 0 };
    SELECTS = false;
    thread_block(".4byte {signature}", "break 0", ".quad 22b, 0, 22b");
    thread_pointer("move {pointer}, $tp", nomem);
    from_thread_pointer("add.d {address}, {distance}, $tp");
}
