//! Whose an address is: which index a section must have to store there.

use core::fmt;

use crate::cpu::IndexKind;
use crate::percpu;

/// An index of either kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    /// [`IndexKind::ARENA`].
    pub(crate) kind: usize,
    pub(crate) index: usize,
}

impl Owner {
    pub(crate) fn of<I: IndexKind>(index: I) -> Self {
        Self { kind: I::ARENA, index: index.number() }
    }

    /// The index of the slot that this address lies in, if it does.
    fn of_address(address: usize) -> Option<Self> {
        percpu::slot_at(address).map(|(kind, index)| Self { kind, index })
    }

    /// Who else owns this address, if it lies in another's slot.
    pub(crate) fn other_of(self, address: usize) -> Option<Self> {
        Self::of_address(address).filter(|owner| *owner != self)
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", ["CPU", "concurrency id"][self.kind], self.index)
    }
}

/// A section of this index stores to this address. In debug builds, sections ask this of the places
/// that were evaluated before their window.
///
/// # Panics
/// If it is in a slot of another index: nothing keeps others from that while this section stores
/// there.
#[inline]
#[track_caller]
pub fn check_store<I: IndexKind>(index: I, address: usize) {
    let own = Owner::of(index);
    if let Some(other) = own.other_of(address) {
        panic_at(own, other);
    }
}

#[cold]
#[track_caller]
fn panic_at(own: Owner, other: Owner) -> ! {
    panic!(
        "a section of {own} stores to a slot of {other}, where nothing keeps others out: select the slot by the section's own index, as in `&SLOTS[cpu]`"
    );
}
