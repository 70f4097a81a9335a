//! Everything that the macro has to say, in one place: each message names what is wrong and what to write instead.
//!
//! Mistakes of type are left to rustc, which words them better; see `Place` and `Word` in rseq-core.

use proc_macro2::{Span, TokenStream};
use quote::quote;

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

    /// The section's expansion: every error where it belongs, of a type that fits everywhere.
    pub fn into_tokens(self) -> TokenStream {
        let errors = self.0.iter().map(syn::Error::to_compile_error);
        quote!({ #(#errors)* loop {} })
    }
}

pub const SHAPE: &str = "write `rseq! { prepare |cpu| { .. } commit store(place, value) => result abort |n| { .. } }`, \
     where only `commit` is required";
pub const NO_COMMIT: &str = "this section commits nothing: end it with `commit store(place, value)`";
pub const TWO_COMMITS: &str = "a section has one `commit`, because one store publishes everything: keep one, and move other work into \
     `prepare` or into another section";
pub const ONE_PLACE_ONE_VALUE: &str = "a commit takes a place and a value: `store(place, value)`";
pub const RELEASE: &str = "for other orders than relaxed and release there is no single instruction: write `store(place, value)` or \
     `store_release(place, value)`";
pub const CRITICAL: &str =
    "`critical` isn't supported by this version: do the work in `prepare`, which restarts all the same";
pub const INDEX_PLACE: &str = "the index is read once, by the first clause: write `|cpu|` there";
pub const INDEX: &str = "an index is a name, with its kind if you like: `|cpu|` or `|cpu: CpuId|`";
pub const MM_CID: &str = "`MmCid` isn't supported by this version: write `|cpu|` or `|cpu: CpuId|`";
pub const COUNT: &str = "the number of aborts is a name: `abort |n| { .. }`";
pub const NO_RESULT: &str = "an expression must follow `=>`: the section's value once it has committed";
pub const AWAIT: &str = "a section can't wait: the future might go on in another thread; await before the section, and use the result in it";
pub const YIELD: &str = "a section can't yield: it might go on in another thread; yield before or after it";
pub const NESTED: &str = "a section inside a section makes the outer one abort each time: put it before the outer section, or into `abort` or \
     after `=>`";

/// `break` and `continue` without a label, of the macro's own loop.
pub fn unlabelled(word: &str) -> String {
    format!(
        "this `{word}` would leave the section's own loop, not yours: name your loop and write `{word} 'name` (which commits \
         nothing before the commit)"
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
pub fn order(clause: &str, earlier: &str) -> String {
    format!("`{clause}` stands before {earlier}: the order is `prepare`, `commit`, `=>`, `abort`")
}

/// A clause that is there twice.
pub fn twice(clause: &str) -> String {
    format!("a section has one {clause}: merge this one into the first")
}

/// Something else where a clause should start.
pub fn no_clause(found: &str) -> String {
    format!("`{found}` starts no clause of a section: {SHAPE}")
}

/// A clause without its block.
pub fn no_block(clause: &str) -> String {
    format!("a block must follow: `{clause} {{ .. }}`")
}
