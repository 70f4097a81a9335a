//! The contenders that aren't to be had everywhere.

use anyhow::Result;

use super::by_hand::{self, ByHand};
use super::librseq::{self, Librseq};

/// The contenders that aren't to be had everywhere.
pub struct Others {
    pub(super) by_hand: Option<ByHand>,
    pub(super) librseq: Option<Librseq>,
}

impl Others {
    /// Those that are to be had here.
    ///
    /// # Errors
    /// If librseq's sources are given, and aren't right.
    pub fn find() -> Result<Self> {
        Ok(Self { by_hand: ByHand::find(), librseq: Librseq::load()? })
    }

    /// The names of those that aren't to be had, each with what it needs.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        let by_hand = self.by_hand.is_none().then_some((by_hand::NAME, by_hand::NEEDS));
        let librseq = self.librseq.is_none().then_some((librseq::NAME, librseq::NEEDS));
        by_hand.into_iter().chain(librseq).collect()
    }
}
