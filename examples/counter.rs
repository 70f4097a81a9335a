//! Counts the bytes and lines of files, each of them by a section of its own, and compares that
//! with shared atomics.
//!
//! Every byte is one `rseq!` section that adds 1 to a count in the slot of the CPU it runs on, and
//! every line end is a second one. Threads share the input. The sums over all slots must equal what
//! one thread counts in an ordinary array.
//!
//! ```text
//! cargo run --release --example counter                       # the project's own sources
//! cargo run --release --example counter -- --threads 8 FILE...
//! RSEQ_MODE=portable cargo run --release --example counter    # with a lock per slot instead
//! ```

mod common;
#[path = "counter/section.rs"]
mod section;

use std::io::{self, IsTerminal, Write};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use common::{Input, grouped, percent};
use indicatif::{ProgressBar, ProgressStyle};
use rseq::{PerCpu, rseq};
use section::add_per_cpu;

/// Counts the bytes of files by value, and their lines, in per-CPU slots without locks or atomic
/// instructions.
///
/// The counts are checked against those of a single thread. The files are read into memory first,
/// so that the times are those of counting. Times per update are given twice: the processor time of
/// all threads, and the time that went by, each divided by the number of updates. Input below 16
/// MiB is counted several times over for that.
///
/// A file that can't be read is named on stderr; the others are counted, and the exit code is 1. It
/// is 1 also if the counts are wrong.
#[derive(Parser)]
struct Arguments {
    /// Threads that count [default: the CPUs that may be used]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Print the totals alone, and don't compare times
    #[arg(long)]
    quiet: bool,
    /// Files to count [default: the sources of this project]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// The index of the count of lines, behind those of the byte values.
const LINES: usize = 256;

/// A count for each byte value, and one for the lines.
struct Counts([AtomicU64; LINES + 1]);

impl Default for Counts {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; LINES + 1])
    }
}

impl Counts {
    fn totals(&self) -> [u64; LINES + 1] {
        self.0.each_ref().map(|count| count.load(Relaxed))
    }
}

static PER_CPU: PerCpu<Counts> = PerCpu::new();

/// The table for all threads that the sections are compared with.
static SHARED: Counts = Counts([const { AtomicU64::new(0) }; LINES + 1]);

/// Adds 1 to a count of the shared table.
#[inline(always)]
fn add_shared(index: usize) -> u64 {
    SHARED.0[index].fetch_add(1, Relaxed);
    0
}

/// Counts these bytes with `add`. Gives the number of aborts.
#[inline(always)]
fn count(bytes: &[u8], add: impl Fn(usize) -> u64) -> u64 {
    let mut aborts = 0;
    for &byte in bytes {
        aborts += add(usize::from(byte));
        if byte == b'\n' {
            aborts += add(LINES);
        }
    }
    aborts
}

/// The bytes that threads share, as often as they are to be counted: cut into pieces that are
/// handed out in turn.
struct Work<'i> {
    bytes: &'i [u8],
    passes: usize,
    /// The next piece.
    next: AtomicUsize,
}

impl<'i> Work<'i> {
    /// Bytes handed out at once: enough for the shared index not to show in the times. A piece of a
    /// small input goes through it several times.
    const PIECE: usize = 1 << 16;

    fn new(bytes: &'i [u8], passes: usize) -> Self {
        Self { bytes, passes, next: AtomicUsize::new(0) }
    }

    fn length(&self) -> usize {
        self.bytes.len() * self.passes
    }

    /// How much has been handed out.
    fn position(&self) -> usize {
        (self.next.load(Relaxed) * Self::PIECE).min(self.length())
    }

    /// Calls `count` on every part of the pieces that the calling thread gets. Gives the sum of the
    /// results.
    fn take(&self, count: impl Fn(&[u8]) -> u64) -> u64 {
        let mut sum = 0;
        loop {
            let mut start = self.next.fetch_add(1, Relaxed) * Self::PIECE;
            if start >= self.length() {
                return sum;
            }
            let end = (start + Self::PIECE).min(self.length());
            while start < end {
                let from = start % self.bytes.len();
                let part = (self.bytes.len() - from).min(end - start);
                sum += count(&self.bytes[from..from + part]);
                start += part;
            }
        }
    }
}

/// The result of counting by several threads.
struct Run {
    passes: usize,
    aborts: u64,
    time: Time,
}

/// How long the threads took.
#[derive(Clone, Copy)]
struct Time {
    /// From the start of the first to the end of the last.
    elapsed: Duration,
    /// The processor time of all, where the system tells.
    processor: Option<Duration>,
}

/// A thread's account at its end.
struct Done {
    aborts: u64,
    end: Instant,
    processor: Option<Duration>,
}

/// Counts in `threads` threads. Each does the same `count`, which gives its number of aborts.
fn run(work: &Work<'_>, threads: usize, what: &str, count: impl Fn(&[u8]) -> u64 + Sync) -> Run {
    let start = Instant::now();
    let thread = || Done { aborts: work.take(&count), end: Instant::now(), processor: processor_time() };
    let done: Vec<Done> = thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(thread)).collect();
        show_progress(work, what);
        threads.into_iter().map(|thread| thread.join().expect("counting doesn't panic")).collect()
    });
    let end = done.iter().map(|done| done.end).max().unwrap_or(start);
    let time = Time { elapsed: end - start, processor: done.iter().map(|done| done.processor).sum() };
    Run { passes: work.passes, aborts: done.iter().map(|done| done.aborts).sum(), time }
}

/// The processor time of the calling thread.
fn processor_time() -> Option<Duration> {
    cfg_select! {
        unix => {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: writes to the structure.
            let result = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
            (result == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
        }
        _ => None,
    }
}

/// Draws a bar until all work is handed out, if it is long and somebody looks. The main thread
/// alone does it, so that the threads that count neither wait for the terminal nor write to it from
/// a section.
fn show_progress(work: &Work<'_>, what: &str) {
    const WORTH_A_BAR: usize = 8 << 20;
    if work.bytes.len() <= WORTH_A_BAR || !io::stderr().is_terminal() {
        return;
    }
    let style = ProgressStyle::with_template("{msg:16} {wide_bar} {bytes}/{total_bytes} {elapsed}");
    let bar = ProgressBar::new(work.length() as u64)
        .with_message(what.to_owned())
        .with_style(style.expect("the template is valid"));
    while work.position() < work.length() {
        bar.set_position(work.position() as u64);
        thread::sleep(Duration::from_millis(50));
    }
    bar.finish_and_clear();
}

/// Counting all of an input by sections, and by shared atomics if times are to be compared.
struct Outcome {
    /// How often the sections counted everything.
    passes: usize,
    aborts: u64,
    times: Option<Times>,
}

/// The same passes, in both ways.
struct Times {
    passes: usize,
    sections: Time,
    atomics: Time,
}

/// Input of this length is counted once; less takes several passes for the times to mean something.
const LONG: usize = 16 << 20;

fn count_all(bytes: &[u8], threads: usize, compare: bool) -> Outcome {
    let by_sections = |passes| run(&Work::new(bytes, passes), threads, "sections", |part| count(part, add_per_cpu));
    let by_atomics = |passes| run(&Work::new(bytes, passes), threads, "shared atomics", |part| count(part, add_shared));
    let mut runs = vec![by_sections(1)];
    if compare && (1..LONG).contains(&bytes.len()) {
        runs.push(by_sections(passes(bytes.len(), runs[0].time.elapsed)));
    }
    let (total, aborts) = (runs.iter().map(|run| run.passes).sum(), runs.iter().map(|run| run.aborts).sum());
    let times = runs.last().filter(|_| compare && !bytes.is_empty()).map(|timed| Times {
        passes: timed.passes,
        sections: timed.time,
        atomics: by_atomics(timed.passes).time,
    });
    Outcome { passes: total, aborts, times }
}

/// How often to count a short input, of which one pass took `once`: until it is a long one, or for
/// about a second if that is less.
fn passes(length: usize, once: Duration) -> usize {
    const MOST: Duration = Duration::from_secs(1);
    let by_time = MOST.as_nanos() / once.as_nanos().max(1);
    LONG.div_ceil(length.max(1)).min(by_time as usize).max(1)
}

/// The counts by one thread, without sections.
fn count_alone(bytes: &[u8]) -> [u64; LINES + 1] {
    let mut counts = [0; LINES + 1];
    for &byte in bytes {
        counts[usize::from(byte)] += 1;
        counts[LINES] += u64::from(byte == b'\n');
    }
    counts
}

/// Names on stderr every count that isn't the expected one times the passes. Says whether there was
/// none.
fn check(what: &str, counts: &[u64; LINES + 1], expected: &[u64; LINES + 1], passes: usize) -> bool {
    let mut right = true;
    for (index, (&count, &once)) in counts.iter().zip(expected).enumerate() {
        let due = once * passes as u64;
        if count != due {
            let of = if index == LINES { "lines".to_owned() } else { byte_name(index) };
            eprintln!("mismatch: {what} counted {count} of {of}, should be {due}");
            right = false;
        }
    }
    right
}

/// A byte as in source code: `'a'`, `'\n'`, `'\xff'`.
fn byte_name(byte: usize) -> String {
    format!("'{}'", (byte as u8).escape_ascii())
}

/// Checks the counts of an outcome against `expected`, those of one pass.
fn check_all(outcome: &Outcome, expected: &[u64; LINES + 1]) -> bool {
    let mut sums = [0; LINES + 1];
    for slot in &PER_CPU {
        sums.iter_mut().zip(slot.totals()).for_each(|(sum, count)| *sum += count);
    }
    let sections = check("sections", &sums, expected, outcome.passes);
    let compared = outcome.times.as_ref().map_or(0, |times| times.passes);
    check("shared atomics", &SHARED.totals(), expected, compared) && sections
}

fn write_totals(out: &mut impl Write, input: &Input, lines: u64) -> io::Result<()> {
    writeln!(out, "files      {:>16}", grouped(input.files as u64))?;
    writeln!(out, "bytes      {:>16}", grouped(input.bytes.len() as u64))?;
    writeln!(out, "lines      {:>16}", grouped(lines))
}

/// The byte values that occur most.
fn write_most_frequent(out: &mut impl Write, counts: &[u64; LINES + 1]) -> io::Result<()> {
    const SHOWN: usize = 10;
    let whole = counts[..LINES].iter().sum();
    let mut bytes: Vec<usize> = (0..LINES).filter(|&byte| counts[byte] > 0).collect();
    bytes.sort_by_key(|&byte| std::cmp::Reverse(counts[byte]));
    writeln!(out, "\nmost frequent of {} byte values", bytes.len())?;
    for &byte in bytes.iter().take(SHOWN) {
        writeln!(out, "{:>16}  {}  {}", grouped(counts[byte]), percent(counts[byte], whole), byte_name(byte))?;
    }
    Ok(())
}

fn write_times(out: &mut impl Write, times: &Times, updates: u64, threads: usize) -> io::Result<()> {
    let columns = |time: &Time| {
        [time.processor, Some(time.elapsed)].map(|time| time.map(|time| time.as_secs_f64() * 1e9 / updates as f64))
    };
    let (sections, atomics) = (columns(&times.sections), columns(&times.atomics));
    let ratio = [0, 1].map(|column| Some(atomics[column]? / sections[column]?));
    writeln!(out, "\nns per update (timed passes: {}, threads: {threads})", grouped(times.passes as u64))?;
    writeln!(out, "{:24}{:>12}{:>12}", "", "processor", "elapsed")?;
    for (name, columns) in [("sections", sections), ("shared atomics", atomics), ("atomics / sections", ratio)] {
        let [processor, elapsed] = columns.map(|time| time.map_or("-".to_owned(), |time| format!("{time:.3}")));
        writeln!(out, "{name:24}{processor:>12}{elapsed:>12}")?;
    }
    Ok(())
}

fn write_details(
    out: &mut impl Write,
    outcome: &Outcome,
    expected: &[u64; LINES + 1],
    threads: usize,
) -> io::Result<()> {
    let status = rseq::status();
    if outcome.times.is_some() {
        write_most_frequent(out, expected)?;
    }
    let shares: Vec<u64> = PER_CPU.iter().map(|slot| slot.totals().iter().sum()).collect();
    common::write_shares(out, "updates by the slot they landed in", &shares, &status)?;
    writeln!(out, "\nmode       {}", common::mode(&status))?;
    writeln!(out, "passes     {:>16}", grouped(outcome.passes as u64))?;
    writeln!(out, "updates    {:>16}", grouped(shares.iter().sum()))?;
    writeln!(out, "aborts     {:>16}", grouped(outcome.aborts))?;
    match &outcome.times {
        Some(times) => write_times(out, times, expected.iter().sum::<u64>() * times.passes as u64, threads),
        None => writeln!(out, "\nno update, no times"),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let threads = arguments.threads.map_or_else(common::available_cpus, NonZeroUsize::get);
    let input = common::read(&arguments.files);
    let outcome = count_all(&input.bytes, threads, !arguments.quiet);
    let expected = count_alone(&input.bytes);
    let exact = check_all(&outcome, &expected);
    let mut out = io::stdout().lock();
    let written = write_totals(&mut out, &input, expected[LINES]).and_then(|()| {
        writeln!(out, "check      {:>16}", if exact { "exact" } else { "MISMATCH" })?;
        if arguments.quiet { Ok(()) } else { write_details(&mut out, &outcome, &expected, threads) }
    });
    common::exit_code(written, exact && input.unreadable == 0)
}
