//! The steps of a section's protocol, in the order in which a thread goes through them.
//!
//! The steps up to [`Step::Operands`] become ordinary Rust, those behind it the commit block: one piece of asm. Which
//! instructions a step takes is the emitters' business; no register or mnemonic appears here.

use std::fmt;

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{Block, Expr, Ident};

use crate::syntax::ast::Order;

/// A section, lowered.
pub struct Program {
    /// Where the section stands in the source: `file:line:column`, empty where that isn't known.
    pub location: String,
    pub steps: Vec<Step>,
    pub abort: OnAbort,
    /// The macro's value once committed, `()` if there is none.
    pub result: Option<Expr>,
}

/// One step.
#[allow(clippy::large_enum_variant, reason = "there are a dozen in a section")]
pub enum Step {
    /// Whatever way the section is left from here on, it is disarmed.
    Guard,
    /// The thread descriptor comes into force; the CPU is read afterwards.
    Arm,
    /// The index gets its name.
    Index { name: Ident, kind: Option<Ident> },
    /// The user's code. Whatever interrupts it takes the descriptor out of force.
    Prepare(Block),
    /// The place and the value are computed, while still nothing is in a window.
    Operands { place: Expr, value: Expr },
    /// The thread descriptor becomes that of the window.
    Publish,
    /// The window starts: from here every interruption goes to the abort handler.
    Start,
    /// Nothing interrupted the steps since [`Step::Arm`], else it goes to the abort handler.
    CheckArmed,
    /// The thread is on the CPU of the index, else it goes to the abort handler. Sees a move inside a system call, which newer kernels
    /// don't note.
    CheckIndex,
    /// The one store that publishes the section's work.
    Commit(Order),
    /// The window ends: the section has committed.
    Post,
    /// The descriptor goes out of force.
    Disarm,
}

/// What follows an abort. In each case the section then starts again.
pub enum OnAbort {
    /// The processor is given away after a run of aborts.
    Relax,
    /// The user's code runs, with the number of aborts so far if it has a name for it.
    Run { count: Option<Ident>, body: Block },
}

impl Step {
    /// Part of the commit block.
    pub fn is_in_commit_block(&self) -> bool {
        match self {
            Self::Guard | Self::Arm | Self::Index { .. } | Self::Prepare(_) | Self::Operands { .. } => false,
            Self::Publish
            | Self::Start
            | Self::CheckArmed
            | Self::CheckIndex
            | Self::Commit(_)
            | Self::Post
            | Self::Disarm => true,
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "section {}", self.location)?;
        for step in &self.steps {
            writeln!(f, "{step}")?;
        }
        match &self.abort {
            OnAbort::Relax => writeln!(f, "aborted:\n    relax after a run of aborts, then start again")?,
            OnAbort::Run { count: None, body } => writeln!(f, "aborted:\n    {}, then start again", text(body))?,
            OnAbort::Run { count: Some(count), body } => {
                writeln!(f, "aborted:\n    {count} = aborts so far; {}, then start again", text(body))?;
            }
        }
        match &self.result {
            Some(result) => write!(f, "committed:\n    {}", text(result)),
            None => write!(f, "committed:\n    ()"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guard => f.write_str("    guard: disarm on every way out"),
            Self::Arm => f.write_str("    arm"),
            Self::Index { name, kind: None } => write!(f, "    {name} = index"),
            Self::Index { name, kind: Some(kind) } => write!(f, "    {name} = index: {kind}"),
            Self::Prepare(body) => write!(f, "    prepare {}", text(body)),
            Self::Operands { place, value } => write!(f, "    place = {}\n    value = {}", text(place), text(value)),
            Self::Publish => f.write_str("    publish"),
            Self::Start => f.write_str("start:"),
            Self::CheckArmed => f.write_str("    armed, else to aborted"),
            Self::CheckIndex => f.write_str("    on the CPU of the index, else to aborted"),
            Self::Commit(Order::Relaxed) => f.write_str("    store value to place"),
            Self::Commit(Order::Release) => f.write_str("    store value to place, release"),
            Self::Post => f.write_str("post:"),
            Self::Disarm => f.write_str("    disarm"),
        }
    }
}

/// The user's tokens on one line.
fn text(code: &impl ToTokens) -> String {
    let mut tokens = TokenStream::new();
    code.to_tokens(&mut tokens);
    tokens.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}
