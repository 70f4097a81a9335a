//! The user's code of a section that was refused, where it never runs. So rustc
//! resolves the names and checks the types in it: nothing else looks unused because of the mistake,
//! and editors can complete.

use proc_macro2::TokenStream;

use super::skeleton::{bind, counter, on_abort, types};
use super::tokens::{hidden, index_kind, reachable, statements};
use super::{audit, before, portable};
use crate::ir::Program;
use crate::syntax::ast::Section;
use crate::target::Target;

/// The user's code of a section whose window the machine can't have, or that breaks a rule.
pub fn refused(program: &Program, target: &Target) -> TokenStream {
    let private = &target.private;
    let (audit, before) = (audit::begins(program, target), before::steps(program, target));
    let types = types(program, private);
    let portable = portable::closure(program, private);
    let window = before::around_window(program, target, &hidden!(#portable let _ = __rseq_portable;));
    let counter = counter(&program.abort);
    let on_abort = on_abort(&program.abort, private);
    let reachable = reachable();
    let exits = program.window.exits().map(|(names, value)| {
        let names = bind(program, names, private);
        hidden!({ #names #reachable let _ = #value; })
    });
    let names = bind(program, &program.window.in_result, private);
    let result = program.result.as_ref().map(|result| hidden!(#reachable let _ = #result;));
    let outputs = program.outputs.len();
    hidden! {
        while false {
            #counter
            #audit
            #before
            #types
            #window
            let __rseq_outcome = #private::Outcome::<#outputs>::ABORTED;
            #on_abort
            #(#exits)*
            #names
            #result
        }
    }
}

/// The same of a section in whose window not every name means something: what is ordinary Rust all
/// the same.
pub fn unresolved(section: &Section, target: &Target) -> TokenStream {
    let private = &target.private;
    let kind = index_kind(section.is_mm_cid(), private);
    let index = section.index.as_ref().map(|index| {
        let name = &index.name;
        hidden!(#[allow(unused_variables)] let #name = #private::Section::<#kind>::enter().index();)
    });
    let prepare = section.prepare.as_ref().map(statements);
    hidden! {
        while false {
            #index
            #prepare
        }
    }
}
