//! The whole expansion: the loop around attempts, what each of them is made of, and how it ends.

use proc_macro2::TokenStream;

use super::tokens::{allow_unsafe, exit_number, hidden, index_kind, operands, reachable, typed};
use super::window::{self, Asm};
use super::{audit, before, places, portable};
use crate::ids::{ExitId, ValueId};
use crate::ir::{OnAbort, Program};
use crate::resolve::Statement;
use crate::target::Target;

/// The whole expansion: an expression.
pub fn program(program: &Program, asm: Asm<'_>, target: &Target) -> TokenStream {
    let private = &target.private;
    let (before, types) = (before::steps(program, target), types(program, private));
    let attempt = before::around_window(program, target, &attempt(program, asm, target));
    let audit = audit::begins(program, target);
    if program.repeats_by_itself() {
        return hidden!('retry: { #audit #before #types #attempt });
    }
    let counter = counter(&program.abort);
    // The block inside the loop has rustc refuse an unlabelled `break` or `continue` of the user's,
    // were it hidden in the arguments of a macro.
    hidden! {{
        #counter
        #audit
        'retry: loop {
            'attempt: {
                #before
                #types
                #attempt
            }
        }
    }}
}

/// The window, when all is evaluated that it works on, and what follows it.
fn attempt(program: &Program, asm: Asm<'_>, target: &Target) -> TokenStream {
    let private = &target.private;
    let (prepared, portable) = (before::prepared(program, target), portable::closure(program, private));
    let (window, again) = window::outcome(program, asm, target);
    let (ended, over) = (audit::ended(program, target), over(program, private));
    let (left, committed) = (places::left(program, target), places::committed(program, target));
    let (aborted, exits) = (aborted(program, &again, target), exits(program, private));
    let last = last_exit(program);
    let names = bind(program, &program.window.in_result, private);
    let reachable = reachable();
    // In parentheses, because a value that starts with a label can't stand behind the label of
    // `break`.
    let result = program.result.as_ref().map_or_else(|| hidden!(()), |result| hidden!((#result)));
    hidden! {
        #prepared
        #portable
        #window
        #ended
        if __rseq_outcome.end <= #last {
            if __rseq_outcome.end == #private::Outcome::<0>::ABORTED.end {
                #aborted
            }
            #left
            #over
            #exits
        }
        #committed
        #over
        #names
        #reachable
        break 'retry #result;
    }
}

/// Where the aborts are counted, if they have a name.
pub fn counter(abort: &OnAbort) -> TokenStream {
    match abort {
        OnAbort::Run { count: Some(_), .. } => hidden!(let mut __rseq_aborts = 0;),
        _ => TokenStream::new(),
    }
}

/// A type, to be inferred, for each statement and the commit.
pub fn types(program: &Program, private: &TokenStream) -> TokenStream {
    let reachable = reachable();
    let types = program.window.types().map(|ty| {
        let name = typed(ty);
        // Steps without a type of their own have one that says nothing.
        match program.window.statements.get(ty.0) {
            Some(Statement::Copy { .. }) => {
                hidden!(#reachable let #name = #private::Typed::<#private::core::primitive::u8>::new();)
            }
            _ => hidden!(#reachable let #name = #private::Typed::new();),
        }
    });
    types.collect()
}

/// The way on after an abort of the window: the section starts again, unless its window ran in
/// portable mode.
fn aborted(program: &Program, again: &TokenStream, target: &Target) -> TokenStream {
    let private = &target.private;
    let relax = matches!(program.abort, OnAbort::Relax);
    let (open, operands) = (open(program, private), operands(program));
    let outcome = if program.repeats_by_itself() {
        let allow = allow_unsafe();
        return hidden! {
            #allow
            {
                __rseq_outcome = #private::window_repeated(#open, #operands, __rseq_portable, #again);
            }
        };
    } else if program.arms_in_window() {
        hidden!(#private::window_aborted(#relax, #open, #operands, __rseq_portable))
    } else {
        hidden!(__rseq_section.aborted(#relax, #operands, __rseq_portable))
    };
    let (over, on_abort, reachable) = (over(program, private), on_abort(&program.abort, private), reachable());
    let audit = audit::aborted(target);
    hidden! {
        __rseq_outcome = #outcome;
        if __rseq_outcome.end <= #private::Outcome::<0>::AGAIN.end {
            #over
            if __rseq_outcome.end == #private::Outcome::<0>::ABORTED.end {
                #audit
                #on_abort
            }
            #reachable
            break 'attempt;
        }
    }
}

/// The window is over: up to here the compiler sees borrowed what its expressions borrow.
fn over(program: &Program, private: &TokenStream) -> TokenStream {
    let operands = operands(program);
    hidden!(#private::over(#operands);)
}

/// Opens the slots that the window finds by itself, and says what there was to do.
fn open(program: &Program, private: &TokenStream) -> TokenStream {
    let opened = program.window.slots();
    let opened = opened.map(|id| hidden!(#private::core::cmp::Ord::max(__rseq_opened, #private::PerCpu::open(#id))));
    hidden! {
        move || {
            let __rseq_opened = #private::Opening::Before;
            #(let __rseq_opened = #opened;)*
            __rseq_opened
        }
    }
}

pub fn on_abort(abort: &OnAbort, private: &TokenStream) -> TokenStream {
    match abort {
        OnAbort::Relax => TokenStream::new(),
        OnAbort::Run { count, body } => {
            let count = count.as_ref().map(|count| {
                hidden! {
                    __rseq_aborts = #private::count::<0>(__rseq_aborts);
                    let #count = __rseq_aborts;
                }
            });
            let statements = &body.stmts;
            hidden!({ #count #(#statements)* })
        }
    }
}

/// The number of the last exit; what is above it has committed.
fn last_exit(program: &Program) -> usize {
    exit_number(ExitId(program.exits().len())) - 1
}

/// Leaves the section by the exit that the window took.
fn exits(program: &Program, private: &TokenStream) -> TokenStream {
    let reachable = reachable();
    let exits = program.exits().zip(program.window.exits()).map(|(exit, (names, value))| {
        let (number, names) = (exit_number(exit), bind(program, names, private));
        hidden! {
            if __rseq_outcome.end == #number {
                #names
                #reachable
                break 'retry (#value);
            }
        }
    });
    exits.collect()
}

/// Gives values of the window their names.
pub fn bind(program: &Program, values: &[ValueId], private: &TokenStream) -> TokenStream {
    let allow = hidden!(#[allow(unsafe_code, unused_variables, clippy::undocumented_unsafe_blocks)]);
    let bound = values.iter().map(|value| {
        let position = program.outputs.iter().position(|(output, _)| output == value);
        let position = position.expect("a value that is used behind the window is an output of it");
        let info = &program.window.values[*value];
        let name = &info.name;
        let bits = hidden!(__rseq_outcome.values[#position]);
        // SAFETY of the expansion: the window left the bits of such a value there, because it came
        // past the step that makes it.
        match info.ty {
            Some(ty) => {
                let typed = typed(ty);
                hidden!(#allow let #name = unsafe { #private::from_bits(#typed, #bits) };)
            }
            None => {
                let kind = index_kind(program.mm_cid, private);
                hidden!(#allow let #name: #kind = unsafe { #private::index_from_bits(#bits) };)
            }
        }
    });
    bound.collect()
}
