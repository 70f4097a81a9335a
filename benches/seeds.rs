//! The tables with which restartable sequences were proposed, on this machine: `cargo bench -p
//! rseq-bench --bench seeds` prints them.
//!
//! - 2015: Paul Turner, "[RFC PATCH 0/3] restartable sequences v2: fast user-space percpu critical
//!   sections", linux-kernel, 27 October 2015. An update of a word of the CPU: unprotected, by
//!   `lock cmpxchg`, by `cmpxchg` (which another CPU doesn't see as one, but an interruption does),
//!   and by a load and a store that are restarted; in nanoseconds and in what that is above the
//!   unprotected one. And what it takes to ask for the CPU.
//! - 2018: the kernel's commit d7822b1e24f2, "rseq: Introduce restartable sequences system call". A
//!   CPU's counter, by getcpu and an atomic addition and by a restartable sequence: 15.3 ns and 2.0
//!   ns on an Intel E5-2630 v3.
//!
//! Their ratios stand beside this machine's. Those of 2015 are of processors whose locked
//! instructions take longer than today's.

use std::arch::asm;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::Parser;
use rseq::{PerCpu, rseq};
use rseq_bench::contenders::by_hand::{self, ByHand};
use rseq_bench::contenders::getcpu::Vdso;
use rseq_bench::measuring::{
    Contender, Measurement, Plan, Quartiles, contender, hidden, in_register, machine, measure, ratios, times,
};

/// Prints the tables of 2015 and 2018 with this machine's figures.
#[derive(Parser)]
struct Arguments {
    /// How often all contenders are measured
    #[arg(long, value_name = "N", default_value_t = 41, value_parser = clap::value_parser!(u32).range(1..))]
    blocks: u32,
    /// Milliseconds that a contender runs in a block, about
    #[arg(long, value_name = "MS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    slice: u64,
    /// The word of `cargo bench`; without it nothing is measured
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    /// All in one run, on one CPU.
    fn measure(&self, name: &str, contenders: &[Contender]) -> Vec<Measurement> {
        let plan = Plan { blocks: self.blocks as usize, threads: 1, slice: Duration::from_millis(self.slice) };
        measure(name, contenders, &plan)
    }
}

fn main() {
    let arguments = Arguments::parse();
    if !arguments.bench {
        return;
    }
    println!("{}\n", machine());
    let Some(vdso) = Vdso::find().filter(|_| ByHand::find().is_some()) else {
        println!("skipped: this needs a vDSO that says the CPU, and a libc that registers threads");
        return;
    };
    updates(&arguments, vdso);
    getcpu(&arguments, vdso);
}

/// A word to update: on the terms that suit each, at a fixed address.
#[repr(align(128))]
struct Slot(AtomicU64);
static SLOTS: [Slot; 256] = [const { Slot(AtomicU64::new(0)) }; 256];

/// The same for sections.
static HITS: PerCpu<AtomicU64> = PerCpu::new();

#[inline(always)]
fn slot(cpu: usize) -> &'static AtomicU64 {
    in_register(&SLOTS[cpu % SLOTS.len()].0)
}

/// A load and a store.
#[inline(always)]
fn unprotected(slot: &AtomicU64) {
    slot.store(slot.load(Relaxed) + 1, Relaxed);
}

/// A load and `lock cmpxchg`, until that finds what was loaded.
#[inline(always)]
fn lock_cmpxchg(slot: &AtomicU64) {
    let mut old = slot.load(Relaxed);
    while let Err(found) = slot.compare_exchange_weak(old, old + 1, Relaxed, Relaxed) {
        old = found;
    }
}

/// The same without `lock`.
#[inline(always)]
fn cmpxchg(slot: &AtomicU64) {
    let mut old = slot.load(Relaxed);
    loop {
        let (found, expected) = (old, old);
        // SAFETY: it stores to a live word.
        unsafe {
            asm!("cmpxchg [{slot}], {new}", slot = in(reg) slot.as_ptr(), new = in(reg) expected + 1, inout("rax") found => old, options(nostack));
        }
        if old == expected {
            return;
        }
    }
}

/// A load in ordinary Rust, and a store that is refused if anything came in between.
#[inline(always)]
fn load_store() {
    rseq! {
        prepare |cpu| {
            let slot = &HITS[cpu];
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)
    }
}

const BASELINE: &str = "baseline: unprotected";
const LOCK_CMPXCHG: &str = "lock cmpxchg";
const CMPXCHG: &str = "cmpxchg";
const LOAD_STORE: &str = "load-store, by a section";
const VDSO_LOCK_CMPXCHG: &str = "vDSO getcpu, lock cmpxchg";
const VDSO_LOCK_ADD: &str = "vDSO getcpu, lock add";
const BY_HAND: &str = "section by hand";
const WINDOW: &str = "section, all window";

fn updates(arguments: &Arguments, vdso: Vdso) {
    let contenders = [
        contender(BASELINE, |_| unprotected(slot(by_hand::cpu()))),
        contender(LOCK_CMPXCHG, |_| lock_cmpxchg(slot(by_hand::cpu()))),
        contender(CMPXCHG, |_| cmpxchg(slot(by_hand::cpu()))),
        contender(LOAD_STORE, |_| load_store()),
        contender(VDSO_LOCK_CMPXCHG, move |_| lock_cmpxchg(slot(vdso.cpu()))),
        contender(VDSO_LOCK_ADD, move |_| _ = slot(vdso.cpu()).fetch_add(1, Relaxed)),
        contender(BY_HAND, |_| by_hand::count(hidden(0))),
        contender(WINDOW, |_| rseq! { commit |cpu| add(&HITS[cpu], 1) }),
    ];
    let found = arguments.measure("updates", &contenders);
    print_times("A word of the CPU is updated", &contenders, &found);
    print_ratios(
        &found,
        &[
            (LOCK_CMPXCHG, LOAD_STORE, "3.2 (2015)"),
            (CMPXCHG, LOAD_STORE, "-"),
            (VDSO_LOCK_CMPXCHG, LOAD_STORE, "5.4 (2015)"),
            (VDSO_LOCK_ADD, BY_HAND, "7.7 (2018, x86-64)"),
            (VDSO_LOCK_ADD, WINDOW, "7.7 (2018, x86-64)"),
            (VDSO_LOCK_ADD, LOAD_STORE, "7.7 (2018, x86-64)"),
        ],
    );
}

const EMPTY: &str = "baseline: nothing";
const TLS: &str = "cpu_id of the thread's area";
const VDSO: &str = "vDSO getcpu";
const SYSTEM_CALL: &str = "system call getcpu";

fn getcpu(arguments: &Arguments, vdso: Vdso) {
    let contenders = [
        contender(EMPTY, |_| _ = hidden(0)),
        contender(TLS, |_| _ = hidden(by_hand::cpu())),
        contender(VDSO, move |_| _ = hidden(vdso.cpu())),
        contender(SYSTEM_CALL, |_| _ = hidden(by_system_call())),
    ];
    let found = arguments.measure("getcpu", &contenders);
    print_times("The CPU is asked for", &contenders, &found);
    print_ratios(&found, &[(VDSO, TLS, "42 (2015)"), (SYSTEM_CALL, TLS, "-")]);
}

fn by_system_call() -> usize {
    let mut cpu: u32 = 0;
    let none = std::ptr::null_mut::<u32>();
    // SAFETY: the kernel fills the number, and allows for null pointers.
    unsafe { libc::syscall(libc::SYS_getcpu, &raw mut cpu, none, none) };
    cpu as usize
}

/// Nanoseconds, and how many that is above the first of the same block.
fn print_times(title: &str, contenders: &[Contender], found: &[Measurement]) {
    println!("{title}:\n\n| | ns | above the baseline |\n|---|---|---|");
    for Contender { name, .. } in contenders {
        let above = found.chunks(contenders.len()).filter_map(|block| {
            let ns = |name: &str| Some(block.iter().find(|one| one.contender == name)?.ns);
            Some(ns(name)? - ns(&contenders[0].name)?)
        });
        let [ns, above] = [times(found, name), Quartiles::of(above)].map(|ns| ns.map_or(f64::NAN, |ns| ns.median));
        println!("| {name} | {ns:.2} | {above:.2} |");
    }
}

/// The time of each in terms of the other's, within a block, and what the seeds say of that.
fn print_ratios(found: &[Measurement], rows: &[(&str, &str, &str)]) {
    println!("\n| times the time | this machine | middle half | then |\n|---|---|---|---|");
    for (slow, fast, seed) in rows {
        let [low, median, high] =
            ratios(found, slow, fast).map_or([f64::NAN; 3], |Quartiles { low, median, high }| [low, median, high]);
        println!("| {slow} / {fast} | {median:.1} | {low:.1} - {high:.1} | {seed} |");
    }
    println!();
}
