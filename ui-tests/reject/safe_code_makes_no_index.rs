#![deny(unsafe_code)]

use rseq::{CpuId, IndexKind, PerCpu};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

static HITS: PerCpu<AtomicU64> = PerCpu::new();

fn main() {
    let cpu = CpuId::checked(1 << 30);
    println!("{}", HITS[cpu].load(Relaxed));
}
