//! Of either memory.
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};
use std::boxed::Box;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::vec::Vec;

#[cfg(all(unix, not(miri)))]
use super::slot_at;
use super::{Opening, PerCpu, slot_bytes};
use crate::cpu::{CpuId, IndexKind, MmCid, slots};

#[repr(align(4096))]
struct Page(AtomicU8);

/// Values that may be zero lie apart, aligned, as zeroes, a slot's bytes from each other.
#[test]
fn values_of_every_size_lie_apart() {
    fn lie_apart<T>() {
        for _ in 0..2 {
            // SAFETY: the types below may be zero.
            let (one, other): (PerCpu<T>, PerCpu<T, MmCid>) = unsafe { (PerCpu::zeroed(), PerCpu::zeroed()) };
            let mut places: Vec<usize> =
                one.iter().chain(&other).map(|value| core::ptr::from_ref(value).addr()).collect();
            assert!(places[..slots()].windows(2).all(|pair| pair[1] - pair[0] == slot_bytes::<T>()));
            places.sort_unstable();
            assert!(places.iter().all(|place| place.is_multiple_of(align_of::<T>())));
            assert!(places.windows(2).all(|pair| pair[0] / 64 < pair[1] / 64 || size_of::<T>() == 0));
            assert!(places.windows(2).all(|pair| pair[0] + size_of::<T>() <= pair[1]));
            for value in one.iter().chain(&other) {
                // SAFETY: the bytes of a value, which are all atomic.
                let bytes = unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast(), size_of::<T>()) };
                assert!(bytes.iter().all(|byte: &AtomicU8| byte.swap(1, Relaxed) == 0));
            }
        }
    }
    lie_apart::<()>();
    lie_apart::<AtomicU8>();
    lie_apart::<[AtomicU8; 24]>();
    lie_apart::<[AtomicU8; 129]>();
    lie_apart::<[AtomicU8; 1000]>();
    lie_apart::<[Page; 0]>();
}

#[test]
fn values_aligned_to_a_page() {
    let pages = PerCpu::<Page>::from_fn(|index| Page(AtomicU8::new(index as u8)));
    for (index, page) in pages.iter().enumerate() {
        assert!(core::ptr::from_ref(page).addr().is_multiple_of(4096));
        assert_eq!(page.0.load(Relaxed), index as u8);
    }
}

/// Every byte of a slot is known as its index's, whatever its size; the bytes around all slots,
/// and those of slots that are gone, are nobody's.
#[cfg(all(unix, not(miri)))]
#[test]
fn addresses_tell_their_slots() {
    fn tell<T>() {
        // SAFETY: the types below may be zero.
        let (one, other): (PerCpu<T>, PerCpu<T, MmCid>) = unsafe { (PerCpu::zeroed(), PerCpu::zeroed()) };
        for (arena, slots) in [one.iter(), other.iter()].into_iter().enumerate() {
            for (index, value) in slots.enumerate() {
                let first = core::ptr::from_ref(value).addr();
                let last = first + size_of::<T>() - 1;
                assert_eq!([first, last].map(slot_at), [Some((arena, index)); 2]);
            }
        }
    }
    tell::<u8>();
    tell::<[u64; 64]>();
    tell::<[u64; 65]>();
    tell::<[u8; 64 << 10]>();
    tell::<[u8; 100_000]>();
    // SAFETY: bytes may be zero.
    let large: PerCpu<[u8; 1 << 20]> = unsafe { PerCpu::zeroed() };
    let first = core::ptr::from_ref(large.iter().next().unwrap()).addr();
    assert_eq!(slot_at(first), Some((0, 0)));
    drop(large);
    assert_eq!(slot_at(first), None);
    let local = 0_u64;
    static SHARED: AtomicUsize = AtomicUsize::new(0);
    assert_eq!([core::ptr::from_ref(&local).addr(), SHARED.as_ptr().addr(), 0, usize::MAX].map(slot_at), [None; 4]);
}

/// A value that was made before a panic is dropped, and only that.
#[test]
fn a_panic_drops_what_was_made() {
    struct Noted<'n>(&'n AtomicUsize, #[allow(dead_code)] Box<u8>);
    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    for panics_at in 0..slots().min(4) {
        let dropped = AtomicUsize::new(0);
        let made = catch_unwind(AssertUnwindSafe(|| {
            PerCpu::<Noted>::try_from_fn(|index| {
                if index == panics_at {
                    resume_unwind(Box::new(index));
                }
                Noted(&dropped, Box::new(0))
            })
            .map(drop)
        }));
        assert_eq!(made.unwrap_err().downcast_ref(), Some(&panics_at));
        assert_eq!(dropped.into_inner(), panics_at);
    }
}

/// A thread that opens slots, the first time or again, stores the limit behind a fence, ahead of
/// which the first slot was there. Without a fence windows can't use them.
#[test]
fn windows_find_the_first_slot_before_the_limit() {
    let _restartable_or_not = crate::status();
    let limit = CpuId::limit() * slot_bytes::<AtomicUsize>();
    let found = |slots: &PerCpu<AtomicUsize>| [!slots.first.load(Relaxed).is_null(), slots.limit.load(Relaxed) != 0];
    let open = |slots: &PerCpu<AtomicUsize>, succeeds| {
        let mut fences = 0;
        let opening = slots.open_by(|| {
            assert_eq!(found(slots), [true, false]);
            fences += 1;
            succeeds
        });
        (opening, fences)
    };
    let (slots, made) = (PerCpu::new(), PerCpu::from_fn(|_| AtomicUsize::new(0)));
    if limit == 0 {
        // No window ever uses them.
        assert_eq!([open(&slots, true), open(&slots, true)], [(Opening::Now, 0), (Opening::Before, 0)]);
        return;
    }
    for slots in [&slots, &made] {
        assert_eq!([open(slots, false), open(slots, false)], [(Opening::Refused, 1); 2]);
        assert_eq!(found(slots), [true, false]);
        assert_eq!([open(slots, true), open(slots, true)], [(Opening::Now, 1), (Opening::Before, 0)]);
        assert_eq!(slots.limit.load(Relaxed), limit);
    }
}

/// If the drop of one panics, the others are dropped all the same, and the memory is given back
/// (as Miri would say).
#[test]
fn a_drop_that_panics_leaves_out_no_other() {
    struct Noted<'n>(&'n AtomicUsize, usize, #[allow(dead_code)] Box<u8>);
    impl Drop for Noted<'_> {
        fn drop(&mut self) {
            if self.0.fetch_add(1, Relaxed) == 0 {
                resume_unwind(Box::new(self.1));
            }
        }
    }
    let dropped = AtomicUsize::new(0);
    let values = PerCpu::<Noted>::from_fn(|index| Noted(&dropped, index, Box::new(0)));
    let panic = catch_unwind(AssertUnwindSafe(|| drop(values))).unwrap_err();
    assert_eq!((panic.downcast_ref(), dropped.into_inner()), (Some(&0_usize), slots()));
}

/// Padding has no value, and isn't taken for one.
#[test]
fn values_with_padding() {
    let pairs = PerCpu::<(u8, u64)>::from_fn(|index| (index as u8, 7));
    assert!(pairs.iter().copied().eq((0..slots()).map(|index| (index as u8, 7))));
    let zeroes = PerCpu::<(u8, u64)>::new();
    assert!(zeroes.made().is_none());
    assert_eq!(zeroes[CpuId::new(0).unwrap()], (0, 0));
    assert!(zeroes.iter().all(|pair| *pair == (0, 0)));
}
