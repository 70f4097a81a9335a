//! The tokens of all expansions: the macro's own words and names, and pieces of the user's
//! code between them.
//!
//! Every name of the macro's own is resolved where the macro is defined, so that user code neither
//! sees nor changes it; the user's tokens keep their spans. That holds for variables. A name that a
//! pattern binds must also be none of the user's statics, constants and unit structs, which it
//! would be taken for: so these all begin with `__rseq_`.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, format_ident, quote_spanned};
use rseq_abi::outcome;
use syn::{Block, Ident, Stmt, StmtMacro};

use crate::ids::{ExitId, Id, OutsideId, PointeeId, TypeId};
use crate::ir::Program;

/// Quotes what the macro itself says: resolved where the macro is defined, so that a name of the
/// user's never meets it.
macro_rules! hidden {
    ($($tokens:tt)*) => { quote::quote_spanned!(proc_macro2::Span::mixed_site()=> $($tokens)*) };
}
pub(super) use hidden;

/// A name for a variable of the macro's own.
pub fn own(name: impl std::fmt::Display) -> Ident {
    own_at(name, Span::mixed_site())
}

/// The same, for messages about what stands there.
pub fn own_at(name: impl std::fmt::Display, span: Span) -> Ident {
    Ident::new(&format!("__rseq_{name}"), located(span))
}

/// The first token's place in the source, for a token of the macro's own.
pub fn located(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// The name of an expression that was evaluated before the window.
pub fn outside(id: OutsideId) -> Ident {
    own(format_args!("outside_{id}"))
}

impl ToTokens for OutsideId {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        outside(*self).to_tokens(tokens);
    }
}

/// A type, as the window's function is generic over it.
impl ToTokens for TypeId {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        format_ident!("T{}", self.0).to_tokens(tokens);
    }
}

/// The same of what pointers point to.
impl ToTokens for PointeeId {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        format_ident!("P{}", self.0).to_tokens(tokens);
    }
}

/// The name of the type of a statement, or of the commit.
pub fn typed(id: TypeId) -> Ident {
    own(format_args!("type_{id}"))
}

/// The name of the value that Rust puts into a register.
pub fn in_register(register: impl Id) -> Ident {
    own(format_args!("s{}", register.number()))
}

/// All that was evaluated before the window.
pub fn operands(program: &Program) -> TokenStream {
    let operands = program.window.outside.ids();
    hidden!((#(#operands,)*))
}

/// The number with which a window leaves by this exit.
pub fn exit_number(exit: ExitId) -> usize {
    outcome::FIRST_EXIT + exit.0
}

/// The kind of index that the section uses.
pub fn index_kind(mm_cid: bool, private: &TokenStream) -> TokenStream {
    if mm_cid { hidden!(#private::MmCid) } else { hidden!(#private::CpuId) }
}

/// In front of a statement of the macro's own: that the user's code may never get to it is none of
/// the user's business.
pub fn reachable() -> TokenStream {
    hidden!(#[allow(unreachable_code, clippy::diverging_sub_expression, clippy::unused_unit)])
}

/// In front of a statement with `unsafe` of the macro's own.
pub fn allow_unsafe() -> TokenStream {
    hidden!(#[allow(unsafe_code, unused_unsafe, clippy::undocumented_unsafe_blocks)])
}

/// The call that is unsafe for a raw pointer. It spans the user's place, so that it is there that
/// rustc asks for `unsafe`.
pub fn unsafety(receiver: &TokenStream, place: &impl ToTokens) -> TokenStream {
    let mut tokens = place.to_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::call_site, |token| token.span());
    let last = tokens.last().map_or(first, |token| token.span());
    let [first, last] = [first, last].map(|end| Span::mixed_site().located_at(end));
    let receiver: TokenStream = receiver
        .clone()
        .into_iter()
        .map(|mut token| {
            token.set_span(first);
            token
        })
        .collect();
    let call = quote_spanned!(last=> .use_raw_pointer());
    hidden!(#receiver #call;)
}

/// The statements of a block, for a place where others follow. The value of its last expression is
/// nobody's.
pub fn statements(body: &Block) -> TokenStream {
    let mut tokens = TokenStream::new();
    for statement in &body.stmts {
        statement.to_tokens(&mut tokens);
    }
    if body.stmts.last().is_some_and(needs_end) {
        hidden!(;).to_tokens(&mut tokens);
    }
    tokens
}

/// A statement that is an expression, which others can't stand behind as it is, needs a semicolon.
pub fn needs_end(statement: &Stmt) -> bool {
    matches!(statement, Stmt::Expr(_, None) | Stmt::Macro(StmtMacro { semi_token: None, .. }))
}
