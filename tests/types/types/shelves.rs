//! CPUs that another thread has stopped are neither full nor empty for it: not for other threads,
//! nor for handlers on top of it, nor in children of `fork`.

use std::array;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::sync_channel;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rseq::{Pool, Ring, Stack};

use super::{Counted, Object, interrupted, on_cpu};
use support::{
    Steps, available_cpus, in_child, in_processes, mode, must_fail, restartable, run_on, several_cpus, shorter,
    this_test,
};

/// Far fewer items than there is room for are pushed on one CPU and popped on another, by four
/// threads each, and objects are taken here and returned there.
macro_rules! flows {
    ($name:ident: $types:ident) => {
        mod $name {
            use super::*;
            use $types::{Pool, Stack};

            const MOST: usize = 32;

            /// Says how many pushes were refused, and how many objects destroyed.
            pub fn run(time: Duration) -> [usize; 2] {
                let (one, other) = (Stack::<_, 64>::new(), Stack::<_, 64>::new());
                let outside = [const { AtomicUsize::new(0) }; 2];
                static ALIVE: AtomicUsize = AtomicUsize::new(0);
                let made = AtomicUsize::new(0);
                let pool = Pool::<Object, 64, _>::new(|| {
                    made.fetch_add(1, SeqCst);
                    Object::of(&ALIVE)
                });
                let refused = AtomicUsize::new(0);
                let push = |stack: &Stack<usize, 64>, outside: &AtomicUsize| {
                    if outside.fetch_add(1, SeqCst) < MOST {
                        refused.fetch_add(usize::from(stack.push(7).is_err()), SeqCst);
                    } else {
                        outside.fetch_sub(1, SeqCst);
                    }
                };
                let pop = |stack: &Stack<usize, 64>, outside: &AtomicUsize| {
                    outside.fetch_sub(usize::from(stack.pop().is_some()), SeqCst);
                };
                let end = Instant::now() + time;
                let goes_on = || Instant::now() < end;
                let pool = &pool;
                thread::scope(|scope| {
                    for _ in 0..4 {
                        pinned(scope, 0, || {
                            while goes_on() {
                                push(&one, &outside[0]);
                                pop(&other, &outside[1]);
                            }
                        });
                        pinned(scope, 1, || {
                            while goes_on() {
                                pop(&one, &outside[0]);
                                push(&other, &outside[1]);
                            }
                        });
                        let (send, receive) = sync_channel(4);
                        pinned(scope, 1, move || {
                            while goes_on() {
                                send.send(pool.take()).expect("somebody receives");
                            }
                        });
                        pinned(scope, 0, move || receive.into_iter().for_each(drop));
                    }
                });
                println!("{made:?} objects made for at most 24 in use, {ALIVE:?} alive");
                [refused.into_inner(), made.into_inner() - ALIVE.load(SeqCst)]
            }
        }
    };
}

use super::hasty;

flows!(right: rseq);
flows!(taken_for_full: hasty);

/// Starts a thread that stays on one CPU, where there are several.
fn pinned<'s>(scope: &'s Scope<'s, '_>, turn: usize, work: impl FnOnce() + Send + 's) {
    scope.spawn(move || {
        let cpus = available_cpus();
        run_on(&[cpus[turn % cpus.len()]]);
        work();
    });
}

/// `RSEQ_TEST_SECONDS` has it last longer.
#[test]
fn neither_is_refused_nor_destroyed_with_room() {
    let seconds = std::env::var("RSEQ_TEST_SECONDS").map_or(1, |text| text.parse().expect("it is a number"));
    assert_eq!(right::run(Duration::from_secs(seconds)), [0, 0], "refused, destroyed");
}

#[test]
fn both_are_where_a_stopped_cpu_is_taken_for_a_full_one() {
    if restartable() && several_cpus() {
        let mut seen = [0, 0];
        must_fail(|| {
            let now = taken_for_full::run(Duration::from_millis(200));
            seen = array::from_fn(|index| seen[index] + now[index]);
            seen.iter().all(|times| *times > 0)
        });
        println!("refused, destroyed: {seen:?}");
    }
}

thread_local! {
    static HAPPENS: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// The fate of this thread, now that it has stopped a CPU.
pub fn happens() {
    HAPPENS.take().into_iter().for_each(|happens| happens());
}

/// As a handler of signals would be that runs on top of it, on the CPU that is stopped, and a child
/// that it forks.
#[test]
fn whoever_is_on_top_of_a_pop_from_another_cpu_pushes_and_pops() {
    static STACK: interrupted::Stack<u64, 4> = interrupted::Stack::new();
    static STOPPED_CPU: AtomicUsize = AtomicUsize::new(0);
    fn on_top() {
        let all =
            || (0..4).filter_map(|_| STACK.pop()).sum::<u64>() == 6 && (0..4).all(|item| STACK.push(item).is_ok());
        assert_eq!(in_child(all), 0);
        run_on(&[STOPPED_CPU.load(SeqCst)]);
        assert_eq!([STACK.push(4), STACK.push(5)], [Ok(()), Err(5)], "there was room for one");
        assert_eq!(STACK.pop(), Some(4));
    }
    if restartable() && several_cpus() {
        STOPPED_CPU.store(available_cpus()[0], SeqCst);
        on_cpu(0, || (1..=3).for_each(|item| STACK.push(item).expect("there is room")));
        on_cpu(1, || {
            HAPPENS.set(Some(on_top));
            let popped: u64 = (0..4).filter_map(|_| STACK.pop()).sum();
            assert_eq!((popped, HAPPENS.take()), (6, None));
        });
    }
}

/// Threads of the parent push, pop, take from each other's CPU, take and return while children are
/// forked. In each there is what lay there then, and room.
#[test]
fn children_go_on_whatever_is_under_way() {
    const ITEMS: usize = 40;
    static WORDS: interrupted::Stack<usize, 64> = interrupted::Stack::new();
    static COPIES: interrupted::Stack<[usize; 3], 64> = interrupted::Stack::new();
    static POOL: interrupted::Pool<usize, 64> = interrupted::Pool::new(|| 7);

    /// Takes what lies on the other CPU, and brings it back.
    fn turn(cpus: &[usize]) {
        run_on(&cpus[1..2]);
        // So that CPUs are stopped most of the time.
        HAPPENS.set(Some(|| thread::sleep(Duration::from_micros(100))));
        let (word, copy, object) = (WORDS.pop(), COPIES.pop(), POOL.try_take());
        run_on(&cpus[..1]);
        word.map(|item| WORDS.push(item)).transpose().expect("there is room");
        copy.map(|item| COPIES.push(item)).transpose().expect("there is room");
        drop(object);
    }
    /// All items of the child's only thread, and then room for as many as there are places.
    fn has<T>(lie: usize, pop: impl Fn() -> Option<T>, push: impl Fn() -> bool) -> bool {
        let all = (0..lie).all(|_| pop().is_some()) && pop().is_none();
        // Four threads, each of which had one in its hands.
        (ITEMS - 4..=ITEMS).contains(&lie) && all && (0..64).all(|_| push()) && !push() && pop().is_some() && push()
    }
    fn goes_on() -> bool {
        let mut objects: [Option<interrupted::Pooled<'_, usize, 64>>; ITEMS] = [const { None }; ITEMS];
        let lie = POOL.idle();
        objects[..lie].iter_mut().for_each(|object| *object = POOL.try_take());
        let has_objects = ITEMS - 4 <= lie && POOL.try_take().is_none() && objects[..lie].iter().all(Option::is_some);
        has_objects
            && objects.into_iter().flatten().all(|object| interrupted::Pooled::try_return(object).is_ok())
            && has(WORDS.len(), || WORDS.pop(), || WORDS.push(1).is_ok())
            && has(COPIES.len(), || COPIES.pop(), || COPIES.push([1; 3]).is_ok())
    }

    println!("mode: {:?}", mode());
    on_cpu(0, || {
        let objects: [_; ITEMS] = array::from_fn(|_| POOL.take());
        (0..ITEMS).for_each(|item| WORDS.push(item).expect("there is room"));
        (0..ITEMS).for_each(|item| COPIES.push([item; 3]).expect("there is room"));
        drop(objects);
    });
    let steps = Steps::default();
    thread::scope(|scope| {
        let _end = steps.until_dropped();
        let cpus = available_cpus().repeat(2);
        for _ in 0..4 {
            let (steps, cpus) = (&steps, cpus.clone());
            scope.spawn(move || {
                while !steps.has_ended() {
                    turn(&cpus);
                }
            });
        }
        let children = (200 / shorter()).max(10);
        on_cpu(0, || (0..children).for_each(|_| assert_eq!(in_child(goes_on), 0)));
    });
}

/// Where there is no memory for its CPUs.
#[test]
#[ignore = "run by `in_processes_of_their_own`, where no other test has taken any"]
fn a_push_that_panics_drops_its_item() {
    static ALIVE: AtomicUsize = AtomicUsize::new(0);
    let drops_its_item = |push: &dyn Fn()| {
        let panicked = catch_unwind(AssertUnwindSafe(push)).is_err();
        panicked && ALIVE.load(SeqCst) == 0
    };
    let code = in_child(|| {
        let (stack, ring) = (Stack::<Box<Counted<0>>>::new(), Ring::<Box<Counted<0>>>::new());
        let (copies, ring_of_copies) = (Stack::<Counted<6>>::new(), Ring::<Counted<6>>::new());
        std::panic::set_hook(Box::new(|_| ()));
        // Memory that is freed here is there for boxes and messages: the allocator has it already.
        drop(vec![0_u8; 64 << 10]);
        let none = libc::rlimit { rlim_cur: 1, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: a limit for the child, which ends.
        unsafe { libc::setrlimit(libc::RLIMIT_AS, &none) };
        drops_its_item(&|| _ = stack.push(Box::new(Counted::new(&ALIVE))))
            && drops_its_item(&|| _ = ring.push(Box::new(Counted::new(&ALIVE))))
            && drops_its_item(&|| _ = copies.push(Counted::new(&ALIVE)))
            && drops_its_item(&|| _ = ring_of_copies.push(Counted::new(&ALIVE)))
    });
    assert_eq!(code, 0);
}

#[test]
fn in_processes_of_their_own() {
    let alone = |name: &str| this_test(name, &format!("{:?}", mode()));
    in_processes(module_path!(), alone, &["a_push_that_panics_drops_its_item"]);
}

/// As of a vector: the others are dropped all the same.
#[test]
fn a_drop_that_panics_leaves_out_no_other() {
    struct Panicking<'n>(&'n AtomicUsize);
    impl Drop for Panicking<'_> {
        fn drop(&mut self) {
            if self.0.fetch_add(1, SeqCst) == 0 {
                resume_unwind(Box::new(()));
            }
        }
    }
    let dropped = [const { AtomicUsize::new(0) }; 4];
    let (stack, ring, pool) = (Stack::<_>::new(), Ring::<_>::new(), Pool::<_, 64, _>::new(|| Panicking(&dropped[2])));
    let vector: Vec<_> = (0..6).map(|_| Panicking(&dropped[3])).collect();
    for turn in 0..2 {
        on_cpu(turn, || {
            for _ in 0..3 {
                assert!(stack.push(Panicking(&dropped[0])).is_ok() && ring.push(Panicking(&dropped[1])).is_ok());
            }
        });
    }
    drop::<[_; 6]>(array::from_fn(|_| pool.take()));
    let panics = |drops: fn(Box<dyn FnOnce() + '_>), what| catch_unwind(AssertUnwindSafe(|| drops(what))).is_err();
    assert!(panics(|drops| drops(), Box::new(|| drop(stack))));
    assert!(panics(|drops| drops(), Box::new(|| drop(ring))));
    assert!(panics(|drops| drops(), Box::new(|| drop(pool))));
    assert!(panics(|drops| drops(), Box::new(|| drop(vector))));
    assert_eq!(dropped.map(AtomicUsize::into_inner), [6; 4]);
}
