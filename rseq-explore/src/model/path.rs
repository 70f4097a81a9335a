//! The choices of a schedule, and its bounds.

/// How far the model goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// How many events a schedule has at most.
    pub events: usize,
    /// True if the model checks its own rules (see [`Broken`](super::Broken)); if not, it leaves it
    /// to the check to notice what follows from breaking them.
    pub rules: bool,
}

impl Bounds {
    /// So many events at most, and all rules.
    #[must_use]
    pub const fn events(events: usize) -> Self {
        Self { events, rules: true }
    }
}

/// The choices of a run: each with the number of those that there were.
#[derive(Default)]
pub(super) struct Path {
    choices: Vec<(usize, usize)>,
    made: usize,
}

impl Path {
    /// The choice among so many.
    pub(super) fn choose(&mut self, of: usize) -> usize {
        if of == 1 {
            return 0;
        }
        if self.made == self.choices.len() {
            self.choices.push((0, of));
        }
        let (choice, before) = self.choices[self.made];
        assert_eq!(of, before, "the sections do the same each time: what `setup` makes, and no other memory, decides");
        self.made += 1;
        choice
    }

    /// On to the next run. `None` if that was the last.
    pub(super) fn next(mut self) -> Option<Self> {
        while let Some((choice, of)) = self.choices.pop() {
            if choice + 1 < of {
                self.choices.push((choice + 1, of));
                return Some(Self { choices: self.choices, made: 0 });
            }
        }
        None
    }
}
