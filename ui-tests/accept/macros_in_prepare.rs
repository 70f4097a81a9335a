use rseq::{PerCpu, rseq};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn hits() -> u64 {
    HITS.iter().map(|slot| slot.load(Relaxed)).sum()
}

macro_rules! twice {
    ($loop:ident $body:block) => {
        $loop $body
    };
}

macro_rules! id {
    ($value:expr) => {
        $value
    };
}

/// Macros whose arguments look like what is refused, but aren't.
pub(crate) fn main() {
    let format = 3;
    rseq! {
        prepare |cpu| {
            assert!(format != 4 && !matches!(format, 5), "{format}");
            debug_assert_ne!(format, 4, "{}", cpu);
            let slot = &HITS[cpu];
            twice!(loop { break });
            let later = id!(async { std::future::ready(1).await });
            drop(id!(async move { std::future::ready(later.await).await }));
        }
        commit store(slot, id!(7))
        abort { drop(format!("{format}")) }
    }
    assert_eq!(hits(), 7);
}
