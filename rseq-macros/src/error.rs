//! Everything that the macro has to say, in one place: each message names what is wrong and what to
//! write instead.
//!
//! Mistakes of type are left to rustc, which words them better; see `Place` and `Word` in
//! rseq-core.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;

/// Everything that was found wrong with one section.
#[derive(Default)]
pub struct Errors(Vec<syn::Error>);

impl Errors {
    pub fn push(&mut self, error: syn::Error) {
        // An error of syn's may hold several.
        self.0.extend(error);
    }

    pub fn at(&mut self, span: Span, message: impl std::fmt::Display) {
        self.push(syn::Error::new(span, message));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The section's expansion: every error where it belongs, and the user's code if there is any
    /// that can be compiled. The last error is the value, because a failed macro fits every type
    /// and has nothing behind it called unreachable.
    pub fn into_tokens(self, code: &TokenStream) -> TokenStream {
        let mut errors: Vec<TokenStream> = self.0.iter().map(compile_error).collect();
        let last = errors.pop();
        quote!({ #(#errors)* #code (#last) })
    }
}

/// `compile_error!` where the error is. Without the `::core` that syn puts in front, which doesn't
/// exist in edition 2015.
fn compile_error(error: &syn::Error) -> TokenStream {
    let is_name = |token: &TokenTree| matches!(token, TokenTree::Ident(name) if name == "compile_error");
    error.to_compile_error().into_iter().skip_while(|token| !is_name(token)).collect()
}

const SHAPE: &str = "write `rseq! { prepare |cpu| { .. } critical { .. } commit store(place, value) => result abort |n| { .. } }`, \
     where only `commit` is required";
pub const NO_COMMIT: &str = "this section commits nothing: end it with `commit store(place, value)`";
pub const TWO_COMMITS: &str = "a section has one `commit`, because one store publishes everything: keep one, and move other work into \
     `prepare` or into another section";
pub const FORM: &str =
    "a commit is `store(place, value)`, `store_release(place, value)`, or one of `add`, `sub`, `and`, `or` and `xor`";
pub const ONE_PLACE_ONE_VALUE: &str = "a commit takes a place and a value: `store(place, value)`";
pub const RELEASE: &str = "for other orders than relaxed and release there is no single instruction: write `store(place, value)` or \
     `store_release(place, value)`";
pub const INDEX_PLACE: &str = "the index is read once, by the first clause: write `|cpu|` there";
pub const NO_INDEX: &str = "this section names no index: name it in front of the first clause's brackets and select a slot by it, as in \
     `commit |cpu| add(&SLOTS[cpu], 1)`; or write `|_cpu|`, if the place is this thread's or this CPU's alone for another reason";
pub const INDEX: &str = "an index is a name, with its kind if you like: `|cpu|`, `|cpu: CpuId|` or `|cid: MmCid|`";
pub const COUNT: &str = "the number of aborts is a name: `abort |n| { .. }`";
pub const OPEN_BAR: &str = "this `|` has no closing one: write `|name|`";
pub const SEPARATOR: &str = "nothing separates clauses: leave this out";
pub const NO_RESULT: &str = "an expression must follow `=>`: the section's value once it has committed";
pub const AFTER_RESULT: &str = "the expression after `=>` ends before this: only `abort { .. }` may follow it";
pub const AWAIT: &str = "a section can't wait: the future might go on in another thread; await before the section, and use the result in it";
pub const YIELD: &str = "a section can't yield: it might go on in another thread; yield before or after it";
pub const NESTED: &str = "a section inside a section makes the outer one abort each time: put it before the outer section, or into `abort` or \
     after `=>`";

pub const SCRATCH_STORE: &str = "a scratch store takes a place and an operand: `store(place, operand);`";
pub const COPY: &str = "a copy takes two pointers and a number of bytes: `copy(from, to, length);`";
pub const LOAD: &str = "a load takes one place: `let name = load(place);`";
pub const LOAD_WITHOUT_NAME: &str = "what is loaded needs a name: `let name = load(place);`";
pub const LOAD_AS_OPERAND: &str = "a load is a step of its own: `let name = load(place);`, and then use `name` here";
pub const RELEASE_IN_CRITICAL: &str =
    "nothing is published before the commit: write `store(place, operand);` here and `commit store_release(..)`";
pub const UPDATE_IN_CRITICAL: &str = "only the commit updates in place: write `let old = load(place);`, `let new = old + operand;` and \
     `store(place, new);`";
pub const EXIT_WITHOUT_IF: &str = "an exit has a condition: `if left == right { exit value }`";
pub const COMMIT_IN_CRITICAL: &str = "`commit` is a clause of its own: write it behind the braces of `critical`";
pub const NO_SEMICOLON: &str = "a step of `critical` ends with `;`";
pub const LET_MUT: &str =
    "a value of the window never changes: leave `mut` out, and bind what you compute from it to a new name";
pub const LET_PATTERN: &str = "a value of the window has one name: `let name = load(place);`";
pub const LET_WITHOUT_VALUE: &str = "a value of the window is loaded or computed where it is bound: `let name = load(place);` or \
     `let name = left + right;`";
pub const LET: &str = "a value of the window is a `load(place)` or one operation on two operands, as in `left + right`; do other work in \
     `prepare`, or after `=>`";
pub const OPERATION: &str =
    "a window computes with `+`, `-`, `&`, `|`, `^`, `<<` and `>>`: do other work in `prepare`, or after `=>`";
pub const COMPARISON: &str =
    "an exit compares two operands, by `==`, `!=`, `<`, `<=`, `>` or `>=`: `if left == right { exit value }`";
pub const COMPARISON_OF_CONSTANTS: &str = "these two are the same each time, so there is nothing for a window to compare: decide it in \
     ordinary Rust, in `prepare` or outside of the section";
pub const EXIT: &str = "a condition in the window leads out of it: `if left == right { exit value }`";
pub const EMPTY: &str = "braces belong here";
pub const ELSE: &str = "there is no `else` in a window: what follows the braces is what happens otherwise";
pub const AFTER_EXIT: &str = "`exit` takes one expression, the section's value, and ends there";
pub const INDEX_AS_OPERAND: &str = "a window uses its index to select a slot, as in `&STATS[cpu]`: to compute with it, write \
     `prepare |cpu| { .. }`; after `=>` it can be used as well";
pub const INDEX_IN_EXPRESSION: &str = "without `prepare` the index is read in the window, where only `&STATS[cpu]` and fields of it can use it: \
     to do more with it, write `prepare |cpu| { .. }`";
pub const INDEX_AS_A_PLACE: &str = "the index of a section is no place: it selects one, as in `&SLOTS[cpu]`";
pub const PLACE_WITHOUT_AMPERSAND: &str = "a place that is found in the window starts with `&` or `&raw mut`: `&(*pointer).field`, \
     `&STATS[cpu].field`, `&slots[index]`";
pub const DEREFERENCE: &str =
    "a window follows one pointer at a time: bind it first, `let pointer = load(..);`, and write `&(*pointer).field`";
pub const TWO_INDICES: &str =
    "a window selects one element at a time: bind a pointer to the first, or put the arrays into one";

/// An expression of ordinary Rust that names a value of the window.
pub fn in_expression(name: &str) -> String {
    format!(
        "`{name}` is a value of the window, and this expression would be evaluated before it: bind the result of one operation at a time, as \
         in `let result = {name} + 1;`"
    )
}

/// An expression that is no path from a value of the window to a place.
pub fn not_a_place_inside(name: Option<&str>) -> String {
    let pointer = name.unwrap_or("pointer");
    format!(
        "a window finds places behind pointers and indices: `&(*{pointer}).field`, `&{pointer}[index]`, `&STATS[cpu].field`"
    )
}

/// A value of the window in `prepare`.
pub fn value_in_prepare(name: &str) -> String {
    format!(
        "`{name}` is bound in the window, which comes after `prepare`: use it in `critical`, `commit` or after `=>`; if you mean another \
         `{name}`, give one of them a new name"
    )
}

/// A step that doesn't exist.
pub fn no_step(found: &str) -> String {
    format!(
        "`{found}` starts no step of `critical`: steps are `let name = load(place);`, `let name = left + right;`, `store(place, operand);`, \
         `copy(from, to, length);` and `if left == right {{ exit value }}`; do other work in `prepare`"
    )
}

/// More values at once than there are registers.
pub fn too_many_values(names: &[String], most: usize) -> String {
    let names = names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    format!(
        "here the window needs more values at once than the {most} registers that it has: {names}; combine some of them in `prepare`, or load \
         them later"
    )
}

/// More ways out than can be told apart.
pub fn too_many_exits(most: usize) -> String {
    format!("a window has at most {most} exits: compute in `prepare` what several of them decide, or split the section")
}

/// `break` and `continue` without a label, of the macro's own loop.
pub fn unlabelled(word: &str) -> String {
    format!(
        "without a label this `{word}` would act on the section's own loop, not on yours: label your loop, as in `'outer: loop`, and \
         write `{word} 'outer`"
    )
}

/// An index that selects nothing.
pub fn index_unused(name: &str) -> String {
    format!(
        "`{name}` selects nothing: select a slot by it, as in `&SLOTS[{name}]`; or write `|_{name}|`, if the place is this thread's or this CPU's \
         alone for another reason"
    )
}

/// A macro that prints, formats or allocates.
pub fn macro_in_prepare(name: &str) -> String {
    format!(
        "`{name}!` may make a system call or allocate, and then the section's updates can be lost: call it before the \
         section, after `=>` or in `abort`"
    )
}

/// A commit form that doesn't exist.
pub fn unknown_form(name: &str) -> String {
    format!(
        "there is no commit form `{name}`: write `store(place, value)`, `store_release(place, value)`, or one of `add`, `sub`, `and`, `or` and \
         `xor`"
    )
}

/// A clause that stands too late.
pub fn order(clause: &str, later: &str) -> String {
    format!("`{clause}` must stand before `{later}`: the order is `prepare`, `critical`, `commit`, `=>`, `abort`")
}

/// A clause that is there twice.
pub fn twice(clause: &str) -> String {
    format!("a section has one `{clause}`: merge this one into the first")
}

/// Something else where a clause should start.
pub fn no_clause(found: &str) -> String {
    format!("`{found}` starts no clause of a section: {SHAPE}")
}

/// A clause without its block.
pub fn no_block(clause: &str) -> String {
    format!("`{clause}` needs a block: `{clause} {{ .. }}`")
}
