use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

use std::future::{Future, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

async fn later(step: u64) -> u64 {
    ready(step).await
}

async fn hit() -> u64 {
    let step = later(2).await;
    let hit = rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            // A future that is made but not awaited here.
            let hit = async { later(step).await };
            let next = slot.load(Relaxed) + step;
        }
        commit store(slot, next)
        => hit
        abort |n| { drop(async move { ready(n).await }) }
    };
    hit.await + later(1).await
}

/// A section must not keep a future from being sent to other threads.
fn sendable<F: Future + Send>(future: F) -> F {
    future
}

pub(crate) fn main() {
    let mut context = Context::from_waker(Waker::noop());
    let future = pin!(sendable(hit()));
    assert_eq!(future.poll(&mut context), Poll::Ready(3));
    assert_eq!(hits(), 2);
}
