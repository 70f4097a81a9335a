//! The allocator as the program's: everything that Rust allocates, in threads that begin and end,
//! before `main`, in handlers and in forked children.
//! A process of its own, because there is one such allocator in a program.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

mod heap;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;

use heap::Ledger;
use rseq_allocator::PerCpuAlloc;
use support::{
    Count, Disturbance, forced_portable, in_child, in_processes, in_thread_of_child, refused, with_own_registration,
};

#[global_allocator]
static GLOBAL: PerCpuAlloc<Ledger> = PerCpuAlloc::new(Ledger::new());

/// Allocates objects of many sizes, moves them as they grow, and frees them. Says whether they were
/// right.
fn work(seed: usize) -> bool {
    let word = format!("{seed} ");
    let texts: Vec<String> = (1..40).map(|count| word.repeat(count)).collect();
    let mut lengths = BTreeMap::new();
    for text in &texts {
        lengths.insert(text.clone(), text.len());
    }
    let mut grown = String::new();
    texts.iter().all(|text| {
        grown.push_str(&word);
        grown == *text && lengths.remove(text) == Some(grown.len())
    })
}

static BEFORE_MAIN: AtomicUsize = AtomicUsize::new(0);

extern "C" fn before_main() {
    BEFORE_MAIN.store(Box::leak(Box::new([7_usize; 20]))[19], SeqCst);
}

// SAFETY: a function that the C library may call, at a place for such.
#[unsafe(link_section = ".init_array")]
#[used]
static INIT: extern "C" fn() = before_main;

#[test]
fn works_before_main() {
    assert_eq!(BEFORE_MAIN.load(SeqCst), 7);
}

/// Objects are freed, and others allocated, by destructors of a thread's end.
#[test]
fn works_in_destructors_of_threads() {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    struct AtEnd(String);
    impl Drop for AtEnd {
        fn drop(&mut self) {
            ENDED.fetch_add(usize::from(work(self.0.len())), SeqCst);
        }
    }
    thread_local!(static AT_END: RefCell<Vec<AtEnd>> = const { RefCell::new(Vec::new()) });

    println!("mode: {:?}", support::mode());
    for round in 0..20 {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                thread::spawn(move || AT_END.with_borrow_mut(|list| list.push(AtEnd("a".repeat(round * number)))))
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().expect("no destructor panics"));
    }
    assert_eq!(ENDED.load(SeqCst), 160);
}

/// Objects that one thread allocates another one frees.
#[test]
fn works_from_thread_to_thread() {
    println!("mode: {:?}", support::mode());
    let (sender, receiver) = mpsc::channel::<Vec<String>>();
    let senders: Vec<_> = (0..4_usize)
        .map(|sender_number| {
            let sender = sender.clone();
            thread::spawn(move || {
                for number in 0..500 {
                    let strings = (0..20).map(|length| sender_number.to_string().repeat(1 + (number + length) % 60));
                    sender.send(strings.collect()).expect("somebody receives");
                }
            })
        })
        .collect();
    drop(sender);
    let received: usize = receiver.iter().map(|strings| strings.len()).sum();
    senders.into_iter().for_each(|thread| thread.join().expect("senders don't panic"));
    assert_eq!(received, 4 * 500 * 20);
}

/// A handler allocates and frees, whatever it interrupts: the backend holds signals back while it
/// works.
#[test]
fn works_in_handlers() {
    static DONE: AtomicU64 = AtomicU64::new(0);
    fn add(_: u32) {
        let number = DONE.load(Relaxed) as usize % 100;
        let boxes: Vec<Box<usize>> = (0..number).map(Box::new).collect();
        let right = boxes.iter().enumerate().all(|(place, content)| **content == place);
        DONE.fetch_add(u64::from(right), Relaxed);
    }
    println!("mode: {:?}", support::mode());
    let count = Count { add, leave: || (), sum: || DONE.load(SeqCst), aborts: || 0 };
    support::must_be_exact(count, Disturbance::Signals, 5_000, false);
}

#[test]
fn works_in_forked_children() {
    println!("mode: {:?}", support::mode());
    let strings: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
    let code = in_child(|| {
        let inherited = strings.iter().enumerate().all(|(number, string)| *string == number.to_string());
        drop(strings.clone());
        inherited && (0..100).all(work) && in_thread_of_child(|| work(1))
    });
    assert_eq!(code, 0);
    assert!(work(2));
}

/// Other threads that use it aren't disturbed.
#[test]
fn can_be_trimmed_at_any_time() {
    println!("mode: {:?}", support::mode());
    let threads: Vec<_> =
        (0..4).map(|thread| thread::spawn(move || (0..200).all(|turn| work(thread + turn)))).collect();
    while threads.iter().any(|thread| !thread.is_finished()) {
        let _busy_at_times = GLOBAL.trim();
    }
    assert!(threads.into_iter().all(|thread| thread.join().expect("work doesn't panic")));
}

/// The tests above that must hold in every mode.
const IN_EVERY_MODE: &[&str] = &[
    "works_before_main",
    "works_in_destructors_of_threads",
    "works_from_thread_to_thread",
    "works_in_handlers",
    "works_in_forked_children",
    "can_be_trimmed_at_any_time",
];

#[test]
fn works_in_portable_mode() {
    in_processes(module_path!(), forced_portable, IN_EVERY_MODE);
}

#[test]
fn works_with_own_registration() {
    in_processes(module_path!(), with_own_registration, IN_EVERY_MODE);
}

#[test]
fn works_where_seccomp_refuses() {
    in_processes(module_path!(), refused, IN_EVERY_MODE);
}
