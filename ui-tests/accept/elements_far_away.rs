#![deny(warnings)]

use rseq::rseq;
use std::ptr;
use std::sync::atomic::AtomicPtr;

const GIB: usize = 1 << 30;

#[repr(C)]
struct Large {
    rest: [u8; GIB - 1],
    last: u8,
}

/// Elements whose distances are known when the window is compiled, beyond what an instruction can
/// hold.
pub(crate) fn main() {
    // SAFETY: new memory wherever the kernel likes, which isn't there before it is touched.
    let memory = unsafe {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        libc::mmap(ptr::null_mut(), 6 * GIB, libc::PROT_READ | libc::PROT_WRITE, kind, -1, 0)
    };
    if memory == libc::MAP_FAILED {
        println!("skipped: there are no 6 GiB of address space");
        return;
    }
    let (bytes, numbers) = (memory.cast::<u8>(), memory.cast::<u64>());
    let (at_numbers, at_large) = (AtomicPtr::new(numbers), AtomicPtr::new(memory.cast::<Large>()));
    // SAFETY: all within that memory, at multiples of the sizes.
    unsafe {
        numbers.wrapping_add(2 * GIB / 8 - 1).write(6);
        numbers.wrapping_add(2 * GIB / 8).write(7);
        let both = rseq! {
            critical |_cpu| {
                let numbers = load(&at_numbers);
                let large = load(&at_large);
                let first = load(&raw mut numbers[0x0fff_ffff]);
                let second = load(&raw mut numbers[0x1000_0000]);
                store(&raw mut large[4].last, 8);
            }
            commit store(&raw mut numbers[0x2fff_ffff], first)
            => (first, second)
        };
        assert_eq!(both, (6, 7));
        assert_eq!((bytes.wrapping_add(5 * GIB - 1).read(), numbers.wrapping_add(6 * GIB / 8 - 1).read()), (8, 6));
        assert_eq!((*at_large.into_inner()).rest[0], 0);
    }
}
