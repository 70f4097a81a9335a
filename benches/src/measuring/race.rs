//! One measurement of one contender, by many threads.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::thread;
use std::time::Instant;

use super::contender::{BATCH, Contender, Seat};
use super::cpus::{available_cpus, pin};
use super::signals::Signals;

/// The time of operations, on average.
pub struct Outcome {
    /// Nanoseconds that went by on a CPU for an operation.
    pub ns: f64,
    /// Nanoseconds of processor time for an operation.
    pub cpu_ns: f64,
    /// Aborts in a million operations, where they are known.
    pub aborts_per_million: Option<f64>,
    /// The operations of the thread that did least, in terms of what each would have done if all
    /// had done the same.
    pub least_share: f64,
}

/// Has each thread do at least so many batches. None counts before all are there, and those that
/// are through go on until all are, lest the last have it easier; what they do meanwhile is done by
/// the time that is measured, so it counts as well.
pub fn race(contender: &Contender, threads: usize, quota: usize) -> Outcome {
    let cpus = available_cpus();
    let race = Race::new(contender, threads, quota);
    let done: Vec<Done> = thread::scope(|scope| {
        let start = |number| {
            // With more threads than CPUs it is the scheduler's choice where they run.
            let cpu = (threads <= cpus.len()).then(|| cpus[number]);
            let (builder, race) = (thread::Builder::new().stack_size(STACK), &race);
            builder.spawn_scoped(scope, move || race.run(number, cpu)).expect("the machine has room for the threads")
        };
        let started: Vec<_> = (0..threads).map(start).collect();
        started.into_iter().map(|thread| thread.join().expect("contenders don't panic")).collect()
    });
    (contender.tidy)();
    race.outcome(&done, threads.min(cpus.len()))
}

/// Bytes of a thread's stack.
const STACK: usize = 256 << 10;

struct Race<'c> {
    contender: &'c Contender,
    threads: usize,
    quota: usize,
    ready: AtomicUsize,
    through: AtomicUsize,
    begin: OnceLock<Moment>,
    end: OnceLock<Moment>,
}

/// The work that a thread did.
struct Done {
    batches: usize,
    /// The nanoseconds of processor time that it took.
    cpu_time: u64,
}

impl<'c> Race<'c> {
    fn new(contender: &'c Contender, threads: usize, quota: usize) -> Self {
        let [ready, through] = [const { AtomicUsize::new(0) }; 2];
        let (begin, end) = (OnceLock::new(), OnceLock::new());
        Self { contender, threads, quota, ready, through, begin, end }
    }

    /// The work of a thread.
    fn run(&self, thread: usize, cpu: Option<usize>) -> Done {
        cpu.inspect(|&cpu| pin(cpu));
        let seat = Seat { thread, threads: self.threads, is_over: &|| self.is_over() };
        // The first time isn't measured: registration, memory. Nobody waits for others in it: they
        // may have done theirs.
        (self.contender.run)(&Seat { is_over: &|| true, ..seat });
        let _signals = self.contender.signals.map(Signals::every);
        self.wait_for_all();
        let begin = cpu_time();
        let mut batches = 0;
        while !self.is_over() {
            (self.contender.run)(&seat);
            batches += 1;
            if batches == self.quota {
                self.is_through();
            }
        }
        Done { batches, cpu_time: cpu_time() - begin }
    }

    fn wait_for_all(&self) {
        if self.ready.fetch_add(1, SeqCst) + 1 == self.threads {
            self.begin.get_or_init(|| Moment::now(self.contender));
        }
        while self.begin.get().is_none() {
            thread::yield_now();
        }
    }

    fn is_through(&self) {
        if self.through.fetch_add(1, SeqCst) + 1 == self.threads {
            self.end.get_or_init(|| Moment::now(self.contender));
        }
    }

    fn is_over(&self) -> bool {
        self.through.load(Relaxed) == self.threads
    }

    fn outcome(self, done: &[Done], busy_cpus: usize) -> Outcome {
        let [begin, end] = [self.begin, self.end].map(|moment| moment.into_inner().expect("all threads were through"));
        let batches = done.iter().map(|one| one.batches).sum::<usize>() as f64;
        let least = done.iter().map(|one| one.batches).min().unwrap_or(0) as f64;
        let operations = batches * BATCH as f64;
        let aborts = end.aborts.zip(begin.aborts).map(|(end, begin)| (end - begin) as f64);
        Outcome {
            ns: (end.time - begin.time).as_nanos() as f64 / operations * busy_cpus as f64,
            cpu_ns: done.iter().map(|one| one.cpu_time).sum::<u64>() as f64 / operations,
            aborts_per_million: aborts.map(|aborts| aborts / operations * 1e6),
            least_share: least * done.len() as f64 / batches,
        }
    }
}

/// The figures that are read at the begin and at the end.
struct Moment {
    time: Instant,
    aborts: Option<u64>,
}

impl Moment {
    fn now(contender: &Contender) -> Self {
        Self { aborts: contender.aborts(), time: Instant::now() }
    }
}

/// Nanoseconds of processor time of the calling thread. Not of the process: the kernel brings what
/// threads on other CPUs took up to date by the tick.
fn cpu_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills the structure.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measuring::{contender, flow};
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, Mutex};

    #[test]
    fn each_thread_does_its_part() {
        let threads = available_cpus().len() * 2;
        let done = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&done);
        let counter = contender("", move |_| _ = counted.fetch_add(1, Relaxed));
        let outcome = race(&counter, threads, 3);
        // One batch more is done ahead by each.
        assert!(done.load(Relaxed) >= (threads * 4 * BATCH) as u64);
        assert!(outcome.ns > 0.0 && outcome.cpu_ns > 0.0);
        assert_eq!(outcome.aborts_per_million, None);
        assert!(outcome.least_share > 0.0 && outcome.least_share <= 1.0, "{}", outcome.least_share);
    }

    /// Neither those that put nor those that take wait for what never comes, and nothing is left.
    #[test]
    fn items_flow_from_thread_to_thread() {
        for threads in [1, 2, 3, 8] {
            let (put, taken) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (sum, rest) = (Arc::clone(&put), Arc::clone(&taken));
            let there = Arc::new(Mutex::new(0));
            let from = Arc::clone(&there);
            let has_room = move |_| {
                let mut there = there.lock().expect("nobody panics");
                let room = *there < 5;
                *there += u64::from(room);
                sum.fetch_add(room.into(), Relaxed);
                room
            };
            let has_one = move || {
                let mut there = from.lock().expect("nobody panics");
                let one = *there > 0;
                *there -= u64::from(one);
                rest.fetch_add(one.into(), Relaxed);
                one
            };
            let outcome = race(&flow("", has_room, has_one), threads, 3);
            assert!(outcome.least_share > 0.0);
            let [put, taken] = [put, taken].map(|count| count.load(Relaxed));
            assert!(put == taken && put >= (3 * BATCH / 2) as u64, "{put} put and {taken} taken by {threads}");
        }
    }

    #[test]
    fn aborts_are_of_the_measured_time() {
        let done = Arc::new(AtomicU64::new(1 << 40));
        let counted = Arc::clone(&done);
        let aborting =
            contender("", move |_| _ = counted.fetch_add(1, Relaxed)).with_aborts(move || done.load(Relaxed));
        assert_eq!(race(&aborting, 1, 5).aborts_per_million, Some(1e6));
    }
}
