use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

use rseq::Word;
use std::sync::atomic::AtomicPtr;

fn put<T: Word>(place: *mut T, value: T) -> T {
    // SAFETY: callers pass pointers to locals of their own.
    unsafe {
        rseq! {
            commit |_cpu| store(place, value)
            => place.read()
        }
    }
}

fn replace<T>(slots: &PerCpu<AtomicPtr<T>>, new: &'static T) -> *mut T
where
    T: Sync,
{
    rseq! {
        prepare |cpu| {
            let slot = &slots[cpu];
            let old = slot.load(Relaxed);
        }
        commit store_release(slot, std::ptr::from_ref(new).cast_mut())
        => old
    }
}

struct Counter<'a, const STEP: u64> {
    slots: &'a PerCpu<AtomicU64>,
}

impl<const STEP: u64> Counter<'_, STEP> {
    const FROM: u64 = STEP * 10;

    fn hit(&self) {
        rseq! {
            prepare |cpu| {
                let slot = &self.slots[cpu];
                let next = slot.load(Relaxed) + STEP + Self::FROM;
            }
            commit store(slot, next)
        }
    }
}

pub(crate) fn main() {
    let (mut byte, mut half, mut wide) = (1_u8, 2_u16, 3_u64);
    assert_eq!(put(&raw mut byte, 4), 4);
    assert_eq!(put(&raw mut half, 5), 5);
    assert_eq!(put(&raw mut wide, 6), 6);
    assert_eq!((byte, half, wide), (4, 5, 6));

    static NAMES: PerCpu<AtomicPtr<&str>> = PerCpu::new();
    replace(&NAMES, &"one");
    assert_eq!(NAMES.iter().filter(|slot| !slot.load(Relaxed).is_null()).count(), 1);

    Counter::<2> { slots: &HITS }.hit();
    Counter::<3> { slots: &HITS }.hit();
    assert_eq!(hits(), 55);
}
