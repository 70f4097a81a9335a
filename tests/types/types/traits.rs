//! The public types' traits, as to threads, pins and panics, and those they ask of `T` to be
//! printed and cloned.

use std::cell::Cell;
use std::marker::{PhantomData, PhantomPinned};
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use rseq::drain::{StopError, Stopped};
use rseq::metrics::{PerCpuRecorder, PrometheusCollector, Reading};
use rseq::prometheus::WithBounds;
use rseq::{
    AllocError, Bucket, Counter, CpuId, DifferentParts, Drain, Histogram, MmCid, PerCpu, Pool, Pooled, Ring, Slots,
    SlotsMut, Snapshot, Stack, Status, fence,
};

/// `true` if a type has a trait: the constant of its own comes before that of a trait.
macro_rules! has {
    ($type:ty, $trait:path) => {{
        #[allow(dead_code, reason = "one of both constants is used")]
        struct Asked<T>(PhantomData<T>);
        #[allow(dead_code, reason = "as above")]
        impl<T: $trait> Asked<T> {
            const YES: bool = true;
        }
        #[allow(dead_code, reason = "as above")]
        trait Otherwise {
            const YES: bool = false;
        }
        impl<T> Otherwise for Asked<T> {}
        <Asked<$type>>::YES
    }};
}

/// One type a line, with a `+` for each trait that it has and a `-` for each that it doesn't.
macro_rules! table {
    ($($type:ty: $send:tt $sync:tt $unpin:tt $unwind:tt $ref_unwind:tt)*) => {$(
        const _: () = {
            assert!(has!($type, Send) == table!(@ $send), concat!(stringify!($type), ": Send"));
            assert!(has!($type, Sync) == table!(@ $sync), concat!(stringify!($type), ": Sync"));
            assert!(has!($type, Unpin) == table!(@ $unpin), concat!(stringify!($type), ": Unpin"));
            assert!(has!($type, UnwindSafe) == table!(@ $unwind), concat!(stringify!($type), ": UnwindSafe"));
            assert!(has!($type, RefUnwindSafe) == table!(@ $ref_unwind), concat!(stringify!($type), ": RefUnwindSafe"));
        };
    )*};
    (@ +) => { true };
    (@ -) => { false };
}

type Local = *mut u8;
type Mutable = &'static mut u8;
type Inner = Cell<u8>;

// Send, Sync, Unpin, UnwindSafe, RefUnwindSafe
table! {
    // Their parts, in this test.
    AtomicU64:                      + + + + +
    Local:                          - - + + +
    Mutable:                        + + + - +
    Inner:                          + - + + -
    PhantomPinned:                  + + - + +

    Counter:                        + + + + +
    Histogram:                      + + + + +
    Snapshot:                       + + + + +
    Bucket:                         + + + + +
    DifferentParts:                 + + + + +

    // As a box of its values.
    PerCpu<AtomicU64>:              + + + + +
    PerCpu<AtomicU64, MmCid>:       + + + + +
    PerCpu<Local>:                  - - + + +
    PerCpu<Mutable>:                + + + - +
    PerCpu<Inner>:                  + - + + -
    PerCpu<PhantomPinned>:          + + + + +
    // As a reference to them.
    Slots<'_, AtomicU64>:           + + + + +
    Slots<'_, Local>:               - - + + +
    Slots<'_, Mutable>:             + + + + +
    Slots<'_, Inner>:               - - + - -
    Slots<'_, PhantomPinned>:       + + + + +
    // As one that nobody else has.
    SlotsMut<'_, AtomicU64>:        + + + - +
    SlotsMut<'_, Local>:            - - + - +
    SlotsMut<'_, Mutable>:          + + + - +
    SlotsMut<'_, Inner>:            + - + - -
    SlotsMut<'_, PhantomPinned>:    + + + - +

    // As queues: items only pass through them.
    Stack<u64>:                     + + + + +
    Stack<Local>:                   - - + + +
    Stack<Mutable>:                 + + + + +
    Stack<Inner>:                   + + + + +
    Stack<PhantomPinned>:           + + + + +
    Ring<u64>:                      + + + + +
    Ring<Local>:                    - - + + +
    Ring<Mutable>:                  + + + + +
    Ring<Inner>:                    + + + + +
    Ring<PhantomPinned>:            + + + + +
    Drain<'_, u64, 4>:              + + + + +
    Drain<'_, Local, 4>:            - - + + +
    Drain<'_, Mutable, 4>:          + + + + +
    Drain<'_, Inner, 4>:            + + + + +
    Drain<'_, PhantomPinned, 4>:    + + + + +
    Pool<u64>:                      + + + + +
    Pool<Local>:                    - - + + +
    Pool<Mutable>:                  + + + + +
    Pool<Inner>:                    + + + + +
    Pool<PhantomPinned>:            + + + + +
    Pool<u64, 4, Inner>:            + - + + -
    Pool<u64, 4, Local>:            - - + + +
    // As a box of its object.
    Pooled<'_, u64>:                + + + + +
    Pooled<'_, Mutable>:            + + + - +
    Pooled<'_, Inner>:              + - + + -
    Pooled<'_, PhantomPinned>:      + + + + +

    CpuId:                          + + + + +
    MmCid:                          + + + + +
    Status:                         + + + + +
    AllocError:                     + + + + +
    StopError:                      + + + + +
    fence::FenceError:              + + + + +
    Stopped<'_>:                    + + + + +

    WithBounds<&'static Histogram>: + + + + +
    WithBounds<Arc<Histogram>>:     + + + + +
    PerCpuRecorder:                 + + + + +
    PrometheusCollector:            + + + + +
    Reading:                        + + + + +
    rseq::tracing::Meter:           + + + + +
}

/// Nothing at all can be done with it.
struct Opaque;

/// Printing and cloning ask of values what they use: these don't print or clone any.
#[test]
fn values_need_not_be_printed_or_cloned() {
    let pool = Pool::<Opaque>::new(|| Opaque);
    assert_eq!(format!("{pool:?}"), "Pool { idle: 0, .. }");
    let stack = Stack::<Opaque>::default();
    assert_eq!(format!("{stack:?}"), "Stack { len: 0, .. }");
    let ring = Ring::<Opaque>::default();
    assert_eq!(format!("{ring:?}"), "Ring { len: 0, .. }");
    assert_eq!(format!("{:?}", ring.drain()), "Some(Drain { ring: Ring { len: 0, .. }, .. })");

    let slots = PerCpu::<Opaque>::from_fn(|_| Opaque);
    let all = slots.iter();
    let mut rest = all.clone();
    rest.next();
    assert_eq!((all.len(), rest.clone().len()), (rseq::slots(), rseq::slots() - 1));

    let numbers = PerCpu::<usize>::from_fn(|index| index);
    let mut rest = numbers.iter();
    rest.nth(rseq::slots() - 2);
    assert_eq!(format!("{rest:?}"), format!("[{}]", rseq::slots() - 1));
}
