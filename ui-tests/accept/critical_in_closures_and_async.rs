#![deny(warnings)]

use rseq::{PerCpu, rseq};
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

#[derive(Default)]
struct Node {
    next: AtomicPtr<Node>,
    value: AtomicU64,
}

static LISTS: PerCpu<AtomicPtr<Node>> = PerCpu::new();
static HITS: PerCpu<AtomicU64> = PerCpu::new();

async fn first_value(step: u64) -> Option<u64> {
    let step = ready(step).await;
    // SAFETY: there are no nodes.
    let value = unsafe {
        rseq! {
            critical |cpu| {
                let first = load(&LISTS[cpu]);
                if first == null { exit None }
                let rest = load(&(*first).next);
                let value = load(&(*first).value);
            }
            commit store(&LISTS[cpu], rest)
            => Some(value)
        }
    };
    rseq! { commit |cpu| add(&HITS[cpu], step) }
    ready(value).await
}

/// A section must not keep a future from being sent to other threads.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

pub(crate) fn main() {
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(pin!(sendable(first_value(2))).poll(&mut context), Poll::Ready(None));

    let (mut left, mut committed) = (0, 0);
    let place = AtomicU64::new(0);
    let mut hit = |most: u64| {
        rseq! {
            critical |_cpu| {
                let old = load(&place);
                if old >= most { exit left += 1 }
            }
            commit add(&place, 1)
            => committed += 1
        }
    };
    (0..5).for_each(|_| hit(3));
    assert_eq!((left, committed, place.into_inner()), (2, 3, 3));

    std::thread::scope(|scope| {
        for step in 1..=4 {
            scope.spawn(move || (0..100).for_each(|_| rseq! { commit |cpu| add(&HITS[cpu], step) }));
        }
    });
    assert_eq!(HITS.iter().map(|slot| slot.load(Relaxed)).sum::<u64>(), 1_002);
}
