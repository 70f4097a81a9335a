use rseq::{Word, rseq};

#[derive(Clone, Copy)]
#[repr(transparent)]
struct Id(u32);

// SAFETY: transparent over u32.
unsafe impl Word for Id {}

fn main() {
    let mut id = Id(1);
    let place = &raw mut id;
    // SAFETY: never runs.
    unsafe {
        rseq! {
            commit |_cpu| add(place, Id(1))
        }
    }
}
