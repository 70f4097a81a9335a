//! The counter, watched and all window, beside the same update unprotected, hand-written and locked, in one run: one counter over and over
//! (bound by how fast a store is forwarded to the next load), and 64 counters in turn (bound by throughput).
//!
//! The figures that mean something are ratios within one run: absolute times are the machine's.

use std::arch::asm;
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, AtomicU64, Ordering::Relaxed};

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use rseq::{PerCpu, rseq};

const COUNTERS: usize = 64;

/// A CPU's counters.
struct Row([AtomicU64; COUNTERS]);

impl Default for Row {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; COUNTERS])
    }
}

static ROWS: PerCpu<Row> = PerCpu::new();

/// Slots for the hand-written section, on the terms that suit it: at a fixed address.
#[repr(align(128))]
struct Slot([AtomicU64; COUNTERS]);
static SLOTS: [Slot; 64] = [const { Slot([const { AtomicU64::new(0) }; COUNTERS]) }; 64];

#[inline(always)]
fn unprotected(counter: usize) {
    // SAFETY: an add to a live counter of this thread.
    unsafe { asm!("add qword ptr [{}], 1", in(reg) SLOTS[0].0[counter].as_ptr(), options(nostack)) };
}

#[inline(always)]
fn locked(counter: usize) {
    SLOTS[0].0[counter].fetch_add(1, Relaxed);
}

#[inline(always)]
fn watched(counter: usize) {
    rseq! {
        prepare |cpu| {
            let slot = &ROWS[cpu].0[counter];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}

/// A `PerCpu` for each counter.
static COUNTS: [PerCpu<AtomicU64>; COUNTERS] = [const { PerCpu::new() }; COUNTERS];

#[inline(always)]
fn window(counter: usize) {
    rseq! { commit |cpu| add(&COUNTS[counter][cpu], 1) }
}

/// From the thread pointer to libc's area.
static AREA: AtomicIsize = AtomicIsize::new(0);

/// What one writes by hand: read the CPU, arm, compare the CPU inside the window, add.
#[inline(always)]
fn classic(counter: usize) {
    let area = AREA.load(Relaxed);
    while !'window: {
        let cpu: u32;
        // SAFETY: reads the calling thread's area.
        unsafe { asm!("mov {:e}, fs:[{}]", out(reg) cpu, in(reg) area, options(nostack, preserves_flags, readonly)) };
        let slot = SLOTS[cpu as usize & 63].0[counter].as_ptr();
        // SAFETY: the window stores to a live counter; the descriptor is constant; the area is the calling thread's.
        unsafe {
            asm!(
                ".pushsection __rseq_cs, \"aw\", @progbits", ".balign 32",
                "22: .long 0, 0", ".quad 23f, 24f - 23f, 25f", ".popsection",
                "lea {descriptor}, [rip + 22b]",
                "mov fs:[{area} + 8], {descriptor}",
                "23: cmp {cpu:e}, fs:[{area} + 4]",
                "jne {aborted}",
                "add qword ptr [{slot}], 1",
                "24:",
                ".pushsection .text.unlikely, \"ax\", @progbits",
                ".byte 0x0f, 0xb9, 0x3d", ".long 0x53053053", "25: jmp {aborted}", ".popsection",
                descriptor = out(reg) _,
                area = in(reg) area,
                cpu = in(reg) cpu,
                slot = in(reg) slot,
                aborted = label { break 'window false },
                options(nostack),
            );
        }
        true
    } {}
}

fn measure(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, update: impl Fn(usize), distinct: usize) {
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            for turn in 0..COUNTERS {
                update(if distinct == 1 { black_box(0) } else { turn });
            }
        });
    });
}

fn counters(criterion: &mut Criterion) {
    // SAFETY: looks up a symbol of glibc's, of this type.
    let offset = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>().as_ref() };
    let (Some(offset), rseq::Mode::Rseq(rseq::Registrar::Libc)) = (offset, rseq::status().mode()) else {
        println!("skipped: the hand-written section needs libc's registration:\n{}", rseq::status());
        return;
    };
    AREA.store(*offset, Relaxed);
    for (name, distinct) in [("one counter", 1), ("64 in turn", COUNTERS)] {
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(COUNTERS as u64));
        measure(&mut group, "unprotected", unprotected, distinct);
        measure(&mut group, "classic", classic, distinct);
        measure(&mut group, "window", window, distinct);
        measure(&mut group, "watched", watched, distinct);
        measure(&mut group, "lock xadd", locked, distinct);
        group.finish();
    }
}

criterion_group!(benches, counters);
criterion_main!(benches);
