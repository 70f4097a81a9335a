//! The steps before the window, which are ordinary Rust: arming and `prepare`, and the expressions
//! that the window works on.

#![warn(clippy::wildcard_enum_match_arm)]

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use super::tokens::{hidden, index_kind, reachable, statements, unsafety};
use super::{model, places};
use crate::ids::OutsideId;
use crate::ir::{Before, Program};
use crate::resolve::{Outside, OutsideKind};
use crate::target::{Emitter, Target};

/// Everything up to the expressions that the window works on.
pub fn steps(program: &Program, target: &Target) -> TokenStream {
    let (guarded, private) = (is_guarded(program), &target.private);
    let listing = listing(program, target);
    let code = listing.as_ref().map(|listing| listing.code(private));
    let steps = program.before.iter().enumerate().map(|(number, step)| match &listing {
        Some(listing) => listing.before(number, step, private).unwrap_or_else(|| rust(step, program, guarded, target)),
        None => rust(step, program, guarded, target),
    });
    hidden!(#code #(#steps)*)
}

/// These expressions, around what works on them. They are nested, each what the next one's `match`
/// is on, so that what is temporary in one lives while the window runs.
pub fn around_window(program: &Program, target: &Target, inner: &TokenStream) -> TokenStream {
    let private = &target.private;
    let point = listing(program, target).map(|listing| listing.before_window(private));
    let outside = &program.window.outside;
    let evaluated = |inner, id| evaluate(id, &outside[id], &inner, private);
    let nest = outside.ids().rev().fold(hidden!({ #inner }), evaluated);
    hidden!(#point #nest)
}

/// The section as the model sees it, if it is for the model.
fn listing<'p>(program: &'p Program, target: &Target) -> Option<model::Listing<'p>> {
    (target.emitter == Emitter::Model).then(|| model::Listing::of(program))
}

/// From here on, no way but the window leads out of the section, and that disarms by itself.
pub fn prepared(program: &Program, target: &Target) -> TokenStream {
    let (private, reachable, evaluated) = (&target.private, reachable(), places::evaluated(program, target));
    if program.arms_in_window() {
        return match (target.audited, target.checked) {
            (true, _) => hidden!(#reachable #private::Audit::window(__rseq_audit); #evaluated),
            (false, true) if !program.is_control() => hidden!(#reachable #private::window_begins();),
            (false, _) => TokenStream::new(),
        };
    }
    let section = if is_guarded(program) {
        hidden!(__rseq_section)
    } else {
        hidden!(#private::core::mem::ManuallyDrop::into_inner(__rseq_section))
    };
    let index = places::prepared(program, target);
    let is_checked = target.checked && !target.audited && !program.is_control();
    let check = is_checked.then(|| hidden!(#reachable #private::Section::check(&__rseq_section);));
    hidden!(#evaluated #check #reachable let __rseq_section = #private::Section::prepared(#section); #index)
}

fn is_guarded(program: &Program) -> bool {
    program.before.iter().any(|step| matches!(step, Before::Guard))
}

/// A step that is ordinary Rust.
fn rust(step: &Before, program: &Program, guarded: bool, target: &Target) -> TokenStream {
    let private = &target.private;
    let kind = index_kind(program.mm_cid, private);
    match step {
        Before::Arm => {
            let enter = if target.audited {
                hidden!(#private::Audit::enter::<#kind>(__rseq_audit))
            } else {
                hidden!(#private::Section::<#kind>::enter())
            };
            if guarded {
                hidden!(let __rseq_section = #enter;)
            } else {
                hidden!(let __rseq_section = #private::core::mem::ManuallyDrop::new(#enter);)
            }
        }
        Before::Index { name, kind } => {
            let facade = &target.facade;
            let kind = kind.as_ref().map(|kind| quote!(: #facade::#kind));
            hidden!(let #name #kind = #private::Section::index(&__rseq_section);)
        }
        Before::Prepare(body) => statements(body),
        // The guard is what arming makes. What is evaluated is around the window: see
        // `around_window`.
        Before::Guard | Before::Outside => TokenStream::new(),
    }
}

/// An expression for `match`, in parentheses where braces in it could be taken for the arms: those
/// of a struct.
fn scrutinee(code: &impl ToTokens) -> TokenStream {
    let code = code.to_token_stream();
    let is_braced = |token| matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Brace);
    if code.clone().into_iter().any(is_braced) { hidden!((#code)) } else { code }
}

/// An expression that is evaluated before the window, and what comes with its value at hand.
fn evaluate(
    id: OutsideId,
    Outside { kind, code }: &Outside,
    inner: &TokenStream,
    private: &TokenStream,
) -> TokenStream {
    let reachable = reachable();
    let value = match kind {
        OutsideKind::Place => hidden!(#private::target(#code)),
        OutsideKind::Operand => scrutinee(code),
        OutsideKind::ValueOf(place) => hidden!(#place.value(#code)),
        OutsideKind::Slots => hidden!(#private::per_cpu(&#code)),
        OutsideKind::Elements => hidden!(#private::elements(&#code)),
        OutsideKind::Source => hidden!(#private::source(#code)),
        OutsideKind::Destination => hidden!(#private::destination(#code)),
    };
    let unsafety = match kind {
        OutsideKind::Place => Some(unsafety(&hidden!(#id.access()), code)),
        OutsideKind::Source | OutsideKind::Destination => Some(unsafety(&hidden!(#id), code)),
        OutsideKind::Operand | OutsideKind::ValueOf(_) | OutsideKind::Slots | OutsideKind::Elements => None,
    };
    hidden! {
        #reachable
        match #value {
            #id => {
                #unsafety
                #inner
            }
        }
    }
}
