//! Pools of objects of 64 bytes.

use std::hint::black_box;

use crossbeam_queue::ArrayQueue;
use lockfree_object_pool::{LinearObjectPool, MutexObjectPool, SpinLockObjectPool};
use opool::PoolAllocator;
use rseq::Pool;

use super::others::Others;
use crate::measuring::{Contender, contender};

type Object = [u64; 8];
/// More than all threads hold at a time.
const OBJECTS: usize = 1024;

struct Zeroes;

impl PoolAllocator<Object> for Zeroes {
    fn allocate(&self) -> Object {
        [0; 8]
    }
}

/// A queue of boxes, as one writes a pool by hand.
fn queue() -> ArrayQueue<Box<Object>> {
    let queue = ArrayQueue::new(OBJECTS);
    while queue.push(Box::default()).is_ok() {}
    queue
}

fn take(queue: &ArrayQueue<Box<Object>>) -> Box<Object> {
    queue.pop().unwrap_or_default()
}

/// One object is taken and returned.
pub fn one(_: &Others) -> Vec<Contender> {
    let (ours, queue) = (Pool::<Object>::new(Object::default), queue());
    let opool = opool::Pool::new_prefilled(OBJECTS, Zeroes);
    let (linear, spin, mutex) = (
        LinearObjectPool::new(Object::default, |_| {}),
        SpinLockObjectPool::new(Object::default, |_| {}),
        MutexObjectPool::new(Object::default, |_| {}),
    );
    vec![
        contender("Pool", move |_| _ = black_box(&mut *ours.take())),
        contender("crossbeam ArrayQueue", move |_| {
            let mut object = take(&queue);
            black_box(&mut *object);
            let _ = queue.push(object);
        }),
        contender("opool 0.2", move |_| _ = black_box(&mut *opool.get())),
        contender("lockfree-object-pool 0.1, linear", move |_| _ = black_box(&mut *linear.pull())),
        contender("lockfree-object-pool 0.1, spin lock", move |_| _ = black_box(&mut *spin.pull())),
        contender("lockfree-object-pool 0.1, mutex", move |_| _ = black_box(&mut *mutex.pull())),
        contender("Box::new, dropped", move |_| _ = black_box(&mut *Box::new(Object::default()))),
    ]
}

/// Four are taken, then returned: as by calls that go four deep.
pub fn four(_: &Others) -> Vec<Contender> {
    let (ours, queue) = (Pool::<Object>::new(Object::default), queue());
    let opool = opool::Pool::new_prefilled(OBJECTS, Zeroes);
    let linear = LinearObjectPool::new(Object::default, |_| {});
    vec![
        contender("Pool", move |_| _ = black_box([ours.take(), ours.take(), ours.take(), ours.take()])),
        contender("crossbeam ArrayQueue", move |_| {
            let objects = black_box([take(&queue), take(&queue), take(&queue), take(&queue)]);
            objects.into_iter().for_each(|object| _ = queue.push(object));
        }),
        contender("opool 0.2", move |_| _ = black_box([opool.get(), opool.get(), opool.get(), opool.get()])),
        contender("lockfree-object-pool 0.1, linear", move |_| {
            _ = black_box([linear.pull(), linear.pull(), linear.pull(), linear.pull()]);
        }),
        contender("Box::new, dropped", move |_| _ = black_box([(); 4].map(|()| Box::new(Object::default())))),
    ]
}
