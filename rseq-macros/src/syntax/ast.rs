//! A section as it was written.

use proc_macro2::Span;
use syn::{Block, Expr, Ident, Type};

/// One clause, with the span of its keyword.
pub struct Clause {
    pub keyword: Span,
    pub kind: ClauseKind,
}

/// The contents of a clause. The order is that in which they must stand.
#[allow(clippy::large_enum_variant, reason = "there are a handful in a section")]
pub enum ClauseKind {
    Prepare {
        index: Option<Index>,
        body: Block,
    },
    Critical {
        index: Option<Index>,
        steps: Vec<Step>,
        /// Steps that couldn't be read were reported and left out.
        whole: bool,
    },
    Commit {
        index: Option<Index>,
        commit: Commit,
    },
    Result(Expr),
    Abort(Abort),
    /// A clause that has its keyword but is otherwise wrong, which has been reported.
    Broken(Keyword),
    /// Other tokens where a clause should start, which have been reported.
    Unknown,
}

/// The word that introduces a clause, in the order in which clauses must stand.
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

/// A step of `critical`.
#[allow(clippy::large_enum_variant, reason = "there are a handful in a section")]
pub enum Step {
    /// `let name: ty = load(place);`
    Load { name: Ident, ty: Option<Type>, place: Expr },
    /// `let name: ty = left operation right;`
    Compute { name: Ident, ty: Option<Type>, left: Expr, operation: Operation, right: Expr },
    /// `store(place, value);`
    Store { place: Expr, value: Expr },
    /// `copy(from, to, length);`
    Copy { from: Expr, to: Expr, length: Expr },
    /// `if left comparison right { exit value }`
    Exit { left: Expr, comparison: Comparison, right: Expr, value: Expr },
}

/// An operation of a window.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    Add,
    Sub,
    And,
    Or,
    Xor,
    Shl,
    Shr,
}

/// How a window compares.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

/// `store(place, value)`, `add(place, value)` and so on.
pub struct Commit {
    /// As it was written, on one line.
    pub text: String,
    pub form: Form,
    pub place: Expr,
    pub value: Expr,
}

/// The form of a commit: what its instruction does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Store(Order),
    Update(Operation),
}

/// The memory order of a commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    pub steps: Vec<Step>,
    pub commit: Commit,
    pub result: Option<Expr>,
    pub abort: Option<Abort>,
}

impl ClauseKind {
    pub fn keyword(&self) -> Option<Keyword> {
        match self {
            Self::Prepare { .. } => Some(Keyword::Prepare),
            Self::Critical { .. } => Some(Keyword::Critical),
            Self::Commit { .. } => Some(Keyword::Commit),
            Self::Result(_) => Some(Keyword::Result),
            Self::Abort(_) => Some(Keyword::Abort),
            Self::Broken(keyword) => Some(*keyword),
            Self::Unknown => None,
        }
    }

    /// A clause is whole if it could be read.
    pub fn is_whole(&self) -> bool {
        !matches!(self, Self::Broken(_) | Self::Unknown | Self::Critical { whole: false, .. })
    }
}

impl Section {
    /// The keyword of its first clause.
    pub fn begins_with(&self) -> Keyword {
        match &self.prepare {
            Some(_) => Keyword::Prepare,
            None if self.steps.is_empty() => Keyword::Commit,
            None => Keyword::Critical,
        }
    }

    /// Its index may be a concurrency id, not a CPU.
    pub fn is_mm_cid(&self) -> bool {
        self.index.as_ref().and_then(|index| index.kind.as_ref()).is_some_and(|kind| kind == "MmCid")
    }
}

impl Operation {
    /// The name of the commit form, and of the function that does it in portable mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Sub => "sub",
            Self::And => "and",
            Self::Or => "or",
            Self::Xor => "xor",
            Self::Shl => "shl",
            Self::Shr => "shr",
        }
    }

    /// The operator in the source.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Sub => "-",
            Self::And => "&",
            Self::Or => "|",
            Self::Xor => "^",
            Self::Shl => "<<",
            Self::Shr => ">>",
        }
    }

    /// The operands of such an operation may change places.
    pub fn commutes(self) -> bool {
        matches!(self, Self::Add | Self::And | Self::Or | Self::Xor)
    }

    pub fn is_shift(self) -> bool {
        matches!(self, Self::Shl | Self::Shr)
    }
}

impl Comparison {
    /// The name of the function that does it in portable mode.
    pub fn name(self) -> &'static str {
        match self {
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
        }
    }

    /// The operator in the source.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
        }
    }

    /// It is the same for numbers with a sign and without.
    pub fn is_equality(self) -> bool {
        matches!(self, Self::Eq | Self::Ne)
    }

    /// The comparison that says the same of the operands in each other's place.
    pub fn mirrored(self) -> Self {
        match self {
            Self::Eq | Self::Ne => self,
            Self::Lt => Self::Gt,
            Self::Le => Self::Ge,
            Self::Gt => Self::Lt,
            Self::Ge => Self::Le,
        }
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
