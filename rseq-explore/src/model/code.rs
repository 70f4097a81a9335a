//! A section as the model sees it: steps at addresses, some of which are the window.

use std::ptr;

/// A section's steps, one `static` for each place in the source where one is written.
#[derive(Debug)]
pub struct Code {
    /// Where the section stands in the source.
    pub section: &'static str,
    /// The steps, in the order in which a thread goes through them.
    pub steps: &'static [CodeStep],
    /// The first step of the window.
    pub start: usize,
    /// The first step behind it.
    pub post: usize,
}

/// A step of a section.
#[derive(Debug)]
pub struct CodeStep {
    /// Its text.
    pub text: &'static str,
    /// How many half statements of `critical` and `commit` are done before it.
    pub progress: usize,
}

/// Where a thread is: in front of a step.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    pub(super) code: &'static Code,
    pub(super) step: usize,
}

impl Address {
    pub(super) fn step(self) -> &'static CodeStep {
        &self.code.steps[self.step]
    }

    /// True if it is in the window of this section.
    pub(super) fn is_in(self, window: &'static Code) -> bool {
        ptr::eq(self.code, window) && (window.start..window.post).contains(&self.step)
    }
}

/// A section's steps outside of the code that the macro writes for it.
macro_rules! own_code {
    ($($name:ident: $text:literal;)*) => {$(
        pub(super) static $name: Code =
            Code { section: "section", steps: &[CodeStep { text: $text, progress: 0 }], start: 0, post: 0 };
    )*};
}

own_code! {
    ARM: "arm";
    READ_INDEX: "read the index";
    LEAVE: "leave early: disarm";
    ABORTED: "aborted: disarm";
}
