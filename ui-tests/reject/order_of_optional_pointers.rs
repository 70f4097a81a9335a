use rseq::rseq;
use std::ptr::NonNull;

fn main() {
    let mut first: Option<NonNull<u64>> = None;
    let place = &raw mut first;
    // SAFETY: never runs.
    unsafe {
        rseq! {
            critical |_cpu| {
                let first = load(place);
                if first < null { exit }
            }
            commit store(place, first)
        }
    }
}
