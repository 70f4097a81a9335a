use rseq::rseq;
use std::ptr::{NonNull, null_mut};
use std::sync::atomic::*;

macro_rules! atomics {
    ($($atomic:ident: $value:expr;)*) => {$(
        let place = $atomic::default();
        rseq! { commit |_cpu| store(&place, $value) }
        assert_eq!(place.load(Ordering::Relaxed), $value, stringify!($atomic));
    )*};
}

/// Each stands between neighbours, which must stay as they are.
macro_rules! pointers {
    ($($type:ty: $old:expr => $new:expr;)*) => {$(
        let mut places: [$type; 3] = [$old; 3];
        let place = &raw mut places[1];
        // SAFETY: a place of this function's own.
        unsafe {
            rseq! { commit |_cpu| store(place, $new) }
        }
        assert_eq!(places, [$old, $new, $old], stringify!($type));
    )*};
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
struct Id(u32);

// SAFETY: transparent over u32.
unsafe impl rseq::Word for Id {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum State {
    Idle = 3,
    Busy = 250,
}

// SAFETY: of one byte.
unsafe impl rseq::Word for State {}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
struct Pair {
    version: u32,
    length: u32,
}

// SAFETY: of eight bytes, aligned to eight, all of them a field's.
unsafe impl rseq::Word for Pair {}

pub(crate) fn main() {
    atomics! {
        AtomicU8: u8::MAX;
        AtomicU16: u16::MAX;
        AtomicU32: u32::MAX;
        AtomicU64: u64::MAX;
        AtomicUsize: usize::MAX;
        AtomicI8: i8::MIN;
        AtomicI16: i16::MIN;
        AtomicI32: i32::MIN;
        AtomicI64: -2;
        AtomicIsize: -3;
        AtomicBool: true;
    }
    let (mut one, mut two) = (1_u128, 2_u128);
    let (one, two) = (NonNull::from(&mut one), NonNull::from(&mut two));
    pointers! {
        u8: 0x11 => 0xfe;
        u16: 0x1111 => 0xfedc;
        u32: 0x1111_1111 => 0xfedc_ba98;
        u64: 0x1111_1111_1111_1111 => 0xfedc_ba98_7654_3210;
        usize: 1 => usize::MAX;
        i8: 1 => -1;
        i16: 1 => -2;
        i32: 1 => -3;
        i64: 1 => i64::MIN;
        isize: 1 => -5;
        bool: false => true;
        bool: true => false;
        *mut u128: one.as_ptr() => two.as_ptr();
        *const u128: one.as_ptr().cast_const() => two.as_ptr().cast_const();
        Option<NonNull<u128>>: Some(one) => Some(two);
        Option<NonNull<u128>>: Some(one) => None;
        Option<NonNull<u128>>: None => Some(two);
        Id: Id(1) => Id(u32::MAX - 1);
        State: State::Idle => State::Busy;
        Pair: Pair { version: 1, length: 2 } => Pair { version: u32::MAX, length: 7 };
    }
    let list = AtomicPtr::new(null_mut());
    rseq! { commit |_cpu| store_release(&list, one.as_ptr()) }
    // SAFETY: points to the first of the two above.
    assert_eq!(unsafe { *list.load(Ordering::Acquire) }, 1);
    // Operands that coerce to the value's type.
    let mut three = 3_u128;
    rseq! { commit |_cpu| store(&list, &mut three) }
    // SAFETY: points to the third.
    assert_eq!(unsafe { *list.load(Ordering::Relaxed) }, 3);
}
