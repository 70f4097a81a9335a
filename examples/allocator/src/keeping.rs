//! The question whether anything is kept.

use core::sync::atomic::{AtomicU8, Ordering::Relaxed};

use rseq::Mode;

const UNDECIDED: u8 = 0;
const KEEPS: u8 = 1;
const HANDS_ON: u8 = 2;

/// True if sections run restartably, which is decided once for the whole process. Where they run
/// under locks, the backend does as well by itself.
///
/// Nothing was kept before the first answer, and it stays what it is: so no object is kept that
/// isn't found again. The first answer needs no memory, so it may be asked for while any is
/// allocated.
#[inline]
pub fn keeps() -> bool {
    static ANSWER: AtomicU8 = AtomicU8::new(UNDECIDED);
    match ANSWER.load(Relaxed) {
        UNDECIDED => {
            let keeps = first();
            ANSWER.store(if keeps { KEEPS } else { HANDS_ON }, Relaxed);
            keeps
        }
        answer => answer == KEEPS,
    }
}

#[cold]
fn first() -> bool {
    matches!(rseq::status().mode(), Mode::Rseq(_))
}
