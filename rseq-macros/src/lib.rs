//! The compiler behind [`rseq-dsl`](https://crates.io/crates/rseq-dsl)'s `rseq!`. Use it through
//! that crate: the macros here expect the tokens that its shell puts in front of a section.
//!
//! The way of a section: `target` takes what the shell says of the place, `syntax` parses the
//! clauses, `check` collects what is wrong with them, `resolve` finds out what the names in the
//! window mean, `lower` turns all into the steps of the protocol (`ir`), `allocate` gives the
//! values of the window their registers (`frame`: where these are too few), `emit` writes the steps
//! as Rust and, for the window, as asm of the target's architecture. `RSEQ_PRINT=1` in the
//! environment of the compiler prints the steps of every section.

extern crate proc_macro;

mod allocate;
mod check;
mod emit;
mod error;
mod frame;
mod ids;
mod ir;
mod lower;
#[cfg(feature = "mutants")]
mod mutants;
mod names;
mod resolve;
mod syntax;
mod target;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;

use crate::error::Errors;
use crate::ir::Program;
use crate::target::{Emitter, Target};

/// `[facade path] [emitter] section`: compiles a section for the emitter's architecture.
#[doc(hidden)]
#[proc_macro]
pub fn section(tokens: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(tokens.into(), |program, _| program).into()
}

/// `[facade path] [emitter] [mutation] section`: compiles a section with one step of the protocol
/// left out or in the wrong place.
#[cfg(feature = "mutants")]
#[doc(hidden)]
#[proc_macro]
pub fn mutant(tokens: proc_macro::TokenStream) -> proc_macro::TokenStream {
    expand(tokens.into(), mutants::apply).into()
}

/// The mutations that there are: an array of their names, with what is wrong with each.
#[cfg(feature = "mutants")]
#[doc(hidden)]
#[proc_macro]
pub fn mutations(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    mutants::list().into()
}

/// The way through the compiler. `change` may alter the program by what stands between the emitter
/// and the section.
fn expand(tokens: TokenStream, change: impl FnOnce(Program, &[String]) -> Program) -> TokenStream {
    let (target, options, tokens) = match Target::split(tokens) {
        Ok(parts) => parts,
        Err(error) => return error.to_compile_error(),
    };
    let mut errors = Errors::default();
    let written = (target.emitter == Emitter::Editor).then(|| syntax::split(tokens.clone()));
    let clauses = syntax::parse(tokens, &mut errors);
    let section = check::section(clauses, &mut errors);
    if let Some(written) = written {
        return emit::editor(written, &target, errors);
    }
    let Some(section) = section else { return errors.into_tokens(&TokenStream::new()) };
    let Some(window) = resolve::window(&section, &mut errors) else {
        return errors.into_tokens(&emit::unresolved(&section, &target));
    };
    let mut program = change(lower::program(section, window, target.checked, target.asks_whose_places()), &options);
    let machine = emit::machine(&target);
    let allocation = machine.and_then(|machine| {
        let (most, are_few) = (machine.registers(&program), machine.has_few_registers());
        allocate::allocate(&mut program, most, are_few).map_err(|error| errors.push(error)).ok()
    });
    if !errors.is_empty() {
        return errors.into_tokens(&emit::refused(&program, &target));
    }
    if std::env::var_os("RSEQ_PRINT").is_some_and(|value| value == "1") {
        eprintln!("{program}");
    }
    emit::program(&program, machine.zip(allocation.as_ref()), &target)
}
