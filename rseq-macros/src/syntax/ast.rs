//! A section as it was written.

use proc_macro2::Span;
use syn::{Block, Expr, Ident};

/// One clause, with the span of its keyword.
pub struct Clause {
    pub keyword: Span,
    pub kind: ClauseKind,
}

/// What a clause says. The order is that in which they must stand.
#[allow(clippy::large_enum_variant, reason = "there are a handful in a section")]
pub enum ClauseKind {
    Prepare {
        index: Option<Index>,
        body: Block,
    },
    Commit {
        index: Option<Index>,
        form: Form,
    },
    Result(Expr),
    Abort(Abort),
    /// A clause that has its keyword but is otherwise wrong, which has been reported.
    Broken(Keyword),
    /// What stands where a clause should start, which has been reported.
    Unknown,
}

/// What introduces a clause, in the order in which clauses must stand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Keyword {
    Prepare,
    Critical,
    Commit,
    Result,
    Abort,
}

/// `|cpu|` or `|cpu: CpuId|`.
pub struct Index {
    /// A name, or `_`.
    pub name: Ident,
    /// The type where it was written.
    pub kind: Option<Ident>,
}

/// `store(place, value)` or `store_release(place, value)`.
pub struct Form {
    pub order: Order,
    pub place: Expr,
    pub value: Expr,
}

/// The memory order of a commit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Relaxed,
    Release,
}

/// `abort |n| { .. }`.
pub struct Abort {
    pub count: Option<Ident>,
    pub body: Block,
}

/// A section whose clauses are complete and in order.
pub struct Section {
    /// Its first token.
    pub start: Span,
    pub index: Option<Index>,
    pub prepare: Option<Block>,
    pub form: Form,
    pub result: Option<Expr>,
    pub abort: Option<Abort>,
}

impl ClauseKind {
    pub fn keyword(&self) -> Option<Keyword> {
        match self {
            Self::Prepare { .. } => Some(Keyword::Prepare),
            Self::Commit { .. } => Some(Keyword::Commit),
            Self::Result(_) => Some(Keyword::Result),
            Self::Abort(_) => Some(Keyword::Abort),
            Self::Broken(keyword) => Some(*keyword),
            Self::Unknown => None,
        }
    }

    /// Whether it could be read.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Broken(_) | Self::Unknown)
    }
}

impl Keyword {
    /// The word in the source.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::Critical => "critical",
            Self::Commit => "commit",
            Self::Result => "=>",
            Self::Abort => "abort",
        }
    }

    pub fn from_word(word: &Ident) -> Option<Self> {
        [Self::Prepare, Self::Critical, Self::Commit, Self::Abort].into_iter().find(|keyword| word == keyword.word())
    }
}
