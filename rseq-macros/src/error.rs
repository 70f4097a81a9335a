//! Everything that the macro has to say, in one place: each message names what is wrong and what to write instead.
//!
//! Mistakes of type are left to rustc, which words them better; see `Place` and `Word` in rseq-core.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;

use crate::syntax::ast::Keyword;

/// What was found wrong with one section.
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

    /// The section's expansion: every error where it belongs, and the user's code if there is any that can be compiled. The last
    /// error is the value, because a failed macro fits every type and has nothing behind it called unreachable.
    pub fn into_tokens(self, code: &TokenStream) -> TokenStream {
        let mut errors: Vec<TokenStream> = self.0.iter().map(compile_error).collect();
        let last = errors.pop();
        quote!({ #(#errors)* #code (#last) })
    }
}

/// `compile_error!` where the error is. Without the `::core` that syn puts in front, which doesn't exist in edition 2015.
fn compile_error(error: &syn::Error) -> TokenStream {
    let is_name = |token: &TokenTree| matches!(token, TokenTree::Ident(name) if name == "compile_error");
    error.to_compile_error().into_iter().skip_while(|token| !is_name(token)).collect()
}

const SHAPE: &str = "write `rseq! { prepare |cpu| { .. } commit store(place, value) => result abort |n| { .. } }`, \
     where only `commit` is required";
pub const NO_COMMIT: &str = "this section commits nothing: end it with `commit store(place, value)`";
const TWO_COMMITS: &str = "a section has one `commit`, because one store publishes everything: keep one, and move other work into \
     `prepare` or into another section";
pub const FORM: &str = "a commit is `store(place, value)` or `store_release(place, value)`";
pub const ONE_PLACE_ONE_VALUE: &str = "a commit takes a place and a value: `store(place, value)`";
pub const RELEASE: &str = "for other orders than relaxed and release there is no single instruction: write `store(place, value)` or \
     `store_release(place, value)`";
pub const CRITICAL: &str =
    "`critical` isn't supported by this version: do the work in `prepare`, which restarts all the same";
pub const INDEX_PLACE: &str = "the index is read once, by the first clause: write `|cpu|` there";
pub const INDEX: &str = "an index is a name, with its kind if you like: `|cpu|` or `|cpu: CpuId|`";
pub const MM_CID: &str = "`MmCid` isn't supported by this version: write `|cpu|` or `|cpu: CpuId|`";
pub const COUNT: &str = "the number of aborts is a name: `abort |n| { .. }`";
pub const OPEN_BAR: &str = "this `|` has no closing one: write `|name|`";
pub const SEPARATOR: &str = "nothing separates clauses: leave this out";
pub const NO_RESULT: &str = "an expression must follow `=>`: the section's value once it has committed";
pub const AFTER_RESULT: &str = "the expression after `=>` ends before this: only `abort { .. }` may follow it";
pub const AWAIT: &str = "a section can't wait: the future might go on in another thread; await before the section, and use the result in it";
pub const YIELD: &str = "a section can't yield: it might go on in another thread; yield before or after it";
pub const NESTED: &str = "a section inside a section makes the outer one abort each time: put it before the outer section, or into `abort` or \
     after `=>`";

/// `break` and `continue` without a label, of the macro's own loop.
pub fn unlabelled(word: &str) -> String {
    format!(
        "without a label this `{word}` would act on the section's own loop, not on yours: label your loop, as in `'outer: loop`, and \
         write `{word} 'outer`"
    )
}

/// A macro that prints, formats or allocates.
pub fn macro_in_prepare(name: &str) -> String {
    format!(
        "`{name}!` may make a system call or allocate, and then the section's updates can be lost: call it before the \
         section, after `=>` or in `abort`"
    )
}

/// A commit form that doesn't exist, or not yet.
pub fn unknown_form(name: &str) -> String {
    format!("there is no commit form `{name}`: write `store(place, value)` or `store_release(place, value)`")
}

/// A form of a later version.
pub fn later_form(name: &str) -> String {
    format!(
        "the commit form `{name}` isn't supported by this version: compute the new value in `prepare` and write \
         `store(place, value)`"
    )
}

/// A clause that stands too late.
pub fn order(clause: Keyword, later: Keyword) -> String {
    let (clause, later) = (clause.word(), later.word());
    format!("`{clause}` must stand before `{later}`: the order is `prepare`, `commit`, `=>`, `abort`")
}

/// A clause that is there twice.
pub fn twice(clause: Keyword) -> String {
    match clause {
        Keyword::Commit => TWO_COMMITS.to_owned(),
        other => format!("a section has one `{}`: merge this one into the first", other.word()),
    }
}

/// Something else where a clause should start.
pub fn no_clause(found: &str) -> String {
    format!("`{found}` starts no clause of a section: {SHAPE}")
}

/// A clause without its block.
pub fn no_block(clause: &str) -> String {
    format!("`{clause}` needs a block: `{clause} {{ .. }}`")
}
