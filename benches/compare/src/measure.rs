//! Candidates measured in turn, as ratios.

use std::fmt::Write;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// So many operations are done in a run of a candidate.
pub const BATCH: usize = 64;

/// How long a candidate runs in a round, about.
const SLICE: Duration = Duration::from_millis(2);

/// Something that does [`BATCH`] operations.
pub struct Candidate {
    pub name: &'static str,
    pub run: Box<dyn Fn() + Sync>,
}

/// A candidate by a function that does one operation, with its number.
pub fn candidate(name: &'static str, operation: impl Fn(usize) + Sync + 'static) -> Candidate {
    let run = move || {
        for number in 0..BATCH {
            operation(number);
        }
    };
    Candidate { name, run: Box::new(run) }
}

/// How candidates are measured.
pub struct Settings<'s> {
    pub rounds: usize,
    /// A thread runs on each of these.
    pub cpus: &'s [usize],
}

/// A table of the candidates: what each takes of the time of the first.
pub fn table(title: &str, candidates: Vec<Candidate>, settings: &Settings<'_>) -> String {
    let times = measure(title, &candidates, settings);
    let mut table = format!("{title}:\n\n| | ns | of the first | middle half |\n|---|---|---|---|\n");
    for (candidate, own) in candidates.iter().zip(&times) {
        let ratios = sorted(own.iter().zip(&times[0]).map(|(own, first)| own / first));
        let [low, median, high] = [1, 2, 3].map(|quarter| ratios[(ratios.len() * quarter / 4).min(ratios.len() - 1)]);
        let ns = sorted(own.iter().copied());
        writeln!(table, "| {} | {:.2} | {median:.2} | {low:.2} - {high:.2} |", candidate.name, ns[ns.len() / 2])
            .expect("a string takes everything");
    }
    table
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// Nanoseconds for an operation of each candidate, in each round.
fn measure(title: &str, candidates: &[Candidate], settings: &Settings<'_>) -> Vec<Vec<f64>> {
    let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len}").expect("the template is right");
    let bar = ProgressBar::new(settings.rounds as u64).with_style(style).with_message(title.to_owned());
    let runs: Vec<usize> = candidates.iter().map(|candidate| runs_in_a_slice(candidate, settings.cpus)).collect();
    let mut times = vec![Vec::new(); candidates.len()];
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    for _ in 0..settings.rounds {
        fastrand::shuffle(&mut order);
        for &number in &order {
            times[number].push(time(&candidates[number], runs[number], settings.cpus));
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    times
}

/// How often a candidate runs in a slice of time.
fn runs_in_a_slice(candidate: &Candidate, cpus: &[usize]) -> usize {
    const TRIAL: usize = 200;
    let each = time(candidate, TRIAL, cpus) * BATCH as f64;
    (SLICE.as_nanos() as f64 / each).ceil() as usize
}

/// Nanoseconds for an operation, when each thread runs the candidate so often. Those that are through go on until all are, lest the last have it easier.
fn time(candidate: &Candidate, runs: usize, cpus: &[usize]) -> f64 {
    let (start, through) = (Barrier::new(cpus.len()), AtomicUsize::new(0));
    let work = &|cpu| {
        pin(cpu);
        (candidate.run)();
        start.wait();
        let begin = Instant::now();
        (0..runs).for_each(|_| (candidate.run)());
        let time = begin.elapsed();
        through.fetch_add(1, SeqCst);
        while through.load(SeqCst) < cpus.len() {
            (candidate.run)();
        }
        time
    };
    let total: Duration = thread::scope(|scope| {
        let threads: Vec<_> = cpus.iter().map(|&cpu| scope.spawn(move || work(cpu))).collect();
        threads.into_iter().map(|thread| thread.join().expect("candidates don't panic")).sum()
    });
    total.as_nanos() as f64 / (cpus.len() * runs * BATCH) as f64
}

/// The CPUs that the process may run on.
pub fn available_cpus() -> Vec<usize> {
    // SAFETY: zero is an empty set, which the call fills.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::sched_getaffinity(0, size_of_val(&set), &mut set);
        (0..libc::CPU_SETSIZE as usize).filter(|&cpu| libc::CPU_ISSET(cpu, &set)).collect()
    }
}

fn pin(cpu: usize) {
    // SAFETY: zero is an empty set, to which a CPU is added.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set);
    }
}
