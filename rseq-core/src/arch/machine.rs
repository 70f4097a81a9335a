//! A machine whose windows publish by several stores, written out from what its file says that it
//! differs in.

use crate::thread::ThreadBlock;

/// Where the thread-local storage of the executable is, seen from the thread pointer, by the
/// machine's ABI: linkers compute with it.
#[allow(dead_code, reason = "each machine has one of the two")]
pub(super) enum Tls {
    /// Above it, behind so many bytes; the thread pointer is so many bytes too high.
    Above { gap: usize, displacement: usize },
    /// Below it.
    Below,
}

impl Tls {
    /// The distance of storage of this length and alignment, for which a linker chose this address.
    pub(super) const fn distance(&self, address: usize, length: usize, alignment: usize) -> isize {
        let mask = alignment - 1;
        let distance = match *self {
            Self::Above { gap, displacement } => (gap + (address.wrapping_sub(gap) & mask)).wrapping_sub(displacement),
            Self::Below => {
                let end = length.wrapping_add(address.wrapping_add(length).wrapping_neg() & mask);
                end.wrapping_neg()
            }
        };
        distance.cast_signed()
    }

    /// The bytes to keep free ahead of the block. Its distance must not be 0.
    pub(super) const fn room(&self) -> usize {
        match self {
            Self::Above { gap: 0, displacement: 0 } => align_of::<ThreadBlock>(),
            _ => 0,
        }
    }
}

/// Defines what a machine has. (The asm of its thread block is the signature's lines, an
/// instruction that traps, and the lines of the descriptor's start, length 0 and abort, `22b`.)
macro_rules! machine {
    (
        SIGNATURE = $number:literal;
        LOADS_IN_ORDER = $in_order:literal;
        TLS = $tls:expr;
        SELECTS = $selects:literal;
        thread_block($($signature:literal)*, $trap:literal, $($address:literal)*);
        thread_pointer($($read:literal,)+ $($option:ident),+);
        $(from_thread_pointer($($add:literal),+ $(; $clobbered:tt)?);)?
    ) => {
        /// The number in the four bytes before every abort handler, so that the kernel jumps
        /// nowhere else.
        pub(crate) const SIGNATURE: u32 = $number;

        /// True if loads are done in the order of the program.
        pub(crate) const LOADS_IN_ORDER: bool = $in_order;

        /// Where an executable's thread-local storage is.
        pub(super) const TLS: $crate::arch::machine::Tls = $tls;

        /// True if it takes an instruction or two to select one of two registers. Else a jump is
        /// shorter.
        pub(super) const SELECTS: bool = $selects;

        // The thread block of this image. Thread-local storage by asm, not `thread_local!`: it is
        // there before the first access, and needs no call. No symbol refers to it, so it is
        // retained (`R`). Hidden, so that each image (the executable, every shared object) has its
        // own: an image that is unloaded must not leave an abort address behind in a descriptor
        // that others go on using.
        core::arch::global_asm!(
            ".pushsection .text.unlikely.rseq_dsl, \"ax\"",
            ".balign 4",
            $($signature,)*         // the signature
            concat!(".globl ", abort_handler_symbol!()),
            concat!(".hidden ", abort_handler_symbol!()),
            concat!(abort_handler_symbol!(), ":"),
            concat!("22: ", $trap), // abort handler of a thread that published no window yet: never gone to
            ".popsection",
            ".pushsection .tdata.rseq_dsl, \"awTR\"",
            ".balign {align}",
            ".zero {room}",                   // lest it be where the thread pointer is
            concat!(".globl ", thread_block_symbol!()),
            concat!(".hidden ", thread_block_symbol!()),
            concat!(".type ", thread_block_symbol!(), ", STT_TLS"),
            concat!(".size ", thread_block_symbol!(), ", {block}"),
            concat!(thread_block_symbol!(), ":"),
            ".long 0, 0",                     // descriptor: version, flags
            $($address,)*                     // descriptor: start, length 0, abort
            ".zero {own_area} - 32",          // a gap: areas are aligned
            ".long 0, -1",                    // own area: cpu_id_start, cpu_id = uninitialised
            ".zero {block} - {own_area} - 8", // own area: nothing registered, no descriptor in force
            ".popsection",
            signature = const SIGNATURE,
            align = const align_of::<$crate::thread::ThreadBlock>(),
            room = const TLS.room(),
            own_area = const core::mem::offset_of!($crate::thread::ThreadBlock, own_area),
            block = const size_of::<$crate::thread::ThreadBlock>(),
        );

        /// The address from which static TLS is addressed.
        #[inline(always)]
        pub(crate) fn thread_pointer() -> usize {
            let pointer;
            // SAFETY: reads registers, or the word of the thread's control block where the ABI
            // keeps its address.
            unsafe {
                core::arch::asm!(
                    $($read,)+ // pointer = the thread pointer
                    pointer = out(reg) pointer,
                    options(nostack, preserves_flags, $($option),+),
                );
            }
            pointer
        }

        /// The address so far from the thread pointer.
        #[inline(always)]
        pub(super) fn from_thread_pointer(distance: isize) -> usize {
            $crate::arch::machine::from_thread_pointer!(distance $(, $($add),+ $(; $clobbered)?)?)
        }
    };
}
pub(super) use machine;

/// The address so far from the thread pointer: by these lines, where the sum takes fewer of them
/// than the thread pointer alone and an addition.
macro_rules! from_thread_pointer {
    ($distance:ident) => {
        thread_pointer().wrapping_add_signed($distance)
    };
    ($distance:ident, $($add:literal),+ $(; $clobbered:tt)?) => {{
        let address;
        // SAFETY: adds two registers.
        unsafe {
            core::arch::asm!(
                $($add,)+ // address = the thread pointer + distance
                address = lateout(reg) address,
                distance = in(reg) $distance,
                $(out($clobbered) _,)?
                options(nomem, nostack, preserves_flags),
            );
        }
        address
    }};
}
pub(super) use from_thread_pointer;

#[cfg(test)]
mod tests {
    use super::Tls;

    #[test]
    fn distances_are_those_of_linkers() {
        let (below, arm64) = (Tls::Below, Tls::Above { gap: 16, displacement: 0 });
        let (riscv, power) = (Tls::Above { gap: 0, displacement: 0 }, Tls::Above { gap: 0, displacement: 0x7000 });
        assert_eq!([below.distance(0x1000, 0x90, 64), below.distance(0x1020, 0x90, 64)], [-0xc0, -0xa0]);
        assert_eq!([arm64.distance(0x1000, 0x90, 64), arm64.distance(0x1020, 0x90, 64)], [64, 32]);
        assert_eq!([riscv.distance(0x1000, 0x90, 64), riscv.distance(0x1020, 0x90, 64)], [0, 32]);
        assert_eq!(power.distance(0x1000, 0x90, 64), -0x7000);
    }
}
