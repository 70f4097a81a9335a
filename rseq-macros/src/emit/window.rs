//! The window as asm, in a function of its own: generic, so that the types that were inferred for
//! its values are there by name.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::Ident;

use super::arch::Machine;
use super::block::Block;
use super::code::Name;
use super::portable::with_fields;
use super::tokens::{allow_unsafe, hidden, in_register, own, typed};
use super::{audit, model};
use crate::allocate::Allocation;
use crate::ids::{InsideId, PointeeId, Register, TypeId};
use crate::ir::{Input, PointeeSource, Program};
use crate::resolve::{Inside, Place};
use crate::target::{Emitter, Target};

/// The machine whose asm a window is, and its registers for the program. Without one the window is
/// Rust alone, for the model or for nobody.
pub type Asm<'a> = Option<(&'a dyn Machine, &'a Allocation)>;

/// `outcome`: how the window ended; and, if the section repeats by itself, what runs the window
/// once more. Where there is neither asm nor the model, it ends at once.
///
/// The closure that runs it once more is made where it is needed, because its captures are put into
/// memory.
pub fn outcome(program: &Program, asm: Asm<'_>, target: &Target) -> (TokenStream, TokenStream) {
    let private = &target.private;
    let (function, arguments) = match (asm, &target.emitter) {
        (Some((machine, allocation)), _) => call_asm(program, machine, allocation, private),
        (None, Emitter::Model) => call_model(program, private),
        (None, Emitter::Machine(_) | Emitter::Editor) => return without_window(program, private),
    };
    let (allow, offsets) = (allow_unsafe(), offsets(program, private));
    // SAFETY of the expansion: the descriptor and the area are the calling thread's; the places are
    // references to atomics, or what the user wrote `unsafe` for. The window stores to these, to
    // the descriptor and to `rseq_cs`, and to nothing else.
    if !program.repeats_by_itself() {
        let outcome = hidden! {
            #offsets
            #allow
            let mut __rseq_outcome = {
                #function
                unsafe { window(#arguments) }
            };
        };
        return (outcome, TokenStream::new());
    }
    let audit = audit::aborted(target);
    let outcome = hidden! {
        #offsets
        #allow
        let (mut __rseq_outcome, __rseq_window) = {
            #function
            (unsafe { window(#arguments) }, window)
        };
    };
    let again = hidden! {
        move || {
            #audit
            unsafe { __rseq_window(#arguments) }
        }
    };
    (outcome, again)
}

/// The outcome where there is no asm.
fn without_window(program: &Program, private: &TokenStream) -> (TokenStream, TokenStream) {
    let outputs = program.outputs.len();
    let ended = hidden!(#private::Outcome::<#outputs>::ABORTED);
    (hidden!(let mut __rseq_outcome = #ended;), hidden!(|| #ended))
}

/// The name of a distance, and of the type of the field at its end.
fn offset(place: InsideId) -> Ident {
    own(format_args!("offset_{place}"))
}

fn element_pointee(place: InsideId) -> Ident {
    own(format_args!("element_{place}"))
}

/// The distances of the fields that the window uses: constants, computed from the fields' names.
fn offsets(program: &Program, private: &TokenStream) -> TokenStream {
    let inside = program.window.places().filter_map(|place| match place {
        Place::Inside(inside) => Some(inside),
        Place::Outside(..) | Place::Pointer(..) => None,
    });
    inside.map(|inside| distances(program, inside, private)).collect()
}

fn distances(program: &Program, inside: &Inside, private: &TokenStream) -> TokenStream {
    let (offset, element) = (offset(inside.id), element_pointee(inside.id));
    if !inside.has_offset() && inside.element.is_none() {
        return TokenStream::new();
    }
    let root = pointee(program, &PointeeSource::of(&inside.root), private);
    let allow = allow_unsafe();
    let first = distance(&root, &inside.fields, private);
    let Some((_, fields)) = &inside.element else {
        return hidden!(#allow let (#offset, _) = #first;);
    };
    let second = distance(&hidden!(#element), fields, private);
    hidden! {
        #allow
        let (#offset, __rseq_array) = #first;
        let #element = #private::element_of(__rseq_array);
        #allow
        let #offset = #offset + #second.0;
    }
}

/// The distance of the field behind these names, and its type. A constant is computed without there
/// being such a value: from memory that is never read.
fn distance(pointee: &TokenStream, fields: &[syn::Member], private: &TokenStream) -> TokenStream {
    let field = with_fields(&hidden!((*__rseq_whole)), fields);
    hidden! {
        #pointee.field(const {
            let __rseq_whole = #private::core::mem::MaybeUninit::uninit();
            unsafe {
                #private::field(&__rseq_whole, {
                    let __rseq_whole = __rseq_whole.as_ptr();
                    &raw const #field
                })
            }
        })
    }
}

fn pointee(program: &Program, source: &PointeeSource, private: &TokenStream) -> TokenStream {
    match source {
        PointeeSource::Slots(id) => hidden!(#private::slot_pointee(#id)),
        PointeeSource::Elements(id) => hidden!(#id.pointee()),
        PointeeSource::Behind(value) => {
            let typed = typed(program.window.values[*value].ty.expect("an index is no pointer"));
            hidden!(#private::pointee(#typed))
        }
        PointeeSource::ElementOf(place) => element_pointee(*place).into_token_stream(),
    }
}

/// The expression that Rust computes for a register of the window.
fn input(program: &Program, register: Register, private: &TokenStream) -> TokenStream {
    match &program.registers[register].input {
        Some(Input::Descriptor) => hidden!(#private::Prepared::descriptor(&__rseq_section).expose_provenance()),
        Some(Input::Area) => hidden!(#private::Prepared::area(&__rseq_section).expose_provenance()),
        Some(Input::OwnArea) if program.repeats_by_itself() => hidden!(#private::area_for_windows()),
        Some(Input::OwnArea) => hidden!(#private::area_for_attempts()),
        Some(Input::Index) => hidden!(#private::Prepared::number(&__rseq_section)),
        Some(Input::Place(id) | Input::Elements(id, None)) => hidden!(#id.operand()),
        Some(Input::Operand(id)) => hidden!(#private::bits(#id)),
        Some(Input::Slots(id)) => hidden!(#private::slots_operand(#id)),
        Some(Input::Elements(id, Some(place))) => {
            let offset = offset(*place);
            hidden!((#id.operand() + #offset))
        }
        Some(Input::Offset(place)) => offset(*place).into_token_stream(),
        Some(Input::Frame(registers)) => {
            let values = registers.iter().map(|register| input(program, *register, private));
            hidden!((&raw const *&[#(#values),*]).expose_provenance())
        }
        None => hidden!(0),
    }
}

/// The function with the window as asm, and its arguments.
fn call_asm(
    program: &Program,
    machine: &dyn Machine,
    allocation: &Allocation,
    private: &TokenStream,
) -> (TokenStream, TokenStream) {
    let contents = &allocation.contents;
    let inputs = contents.ids().filter_map(|id| Some((in_register(id), contents[id].input?))).collect();
    let block = Block::of(program, machine, allocation, private);
    call(program, inputs, |ty| block.code.uses(Name::Signed(ty)), &block.body(), private)
}

/// The function with the window for the model, and its arguments.
fn call_model(program: &Program, private: &TokenStream) -> (TokenStream, TokenStream) {
    let inputs = program.registers.ids().filter(|register| program.registers[*register].input.is_some());
    let inputs = inputs.map(|register| (in_register(register), register)).collect();
    let body = model::Listing::of(program).window(in_register, private);
    call(program, inputs, |_| true, &body, private)
}

/// A function, generic over the types of the window and with these registers as its parameters, and
/// its arguments.
fn call(
    program: &Program,
    inputs: Vec<(Ident, Register)>,
    is_word: impl Fn(TypeId) -> bool,
    body: &TokenStream,
    private: &TokenStream,
) -> (TokenStream, TokenStream) {
    let word = hidden!(#private::core::primitive::usize);
    let types: Vec<TypeId> = program.window.types().collect();
    let bounds = types.iter().map(|id| is_word(*id).then(|| hidden!(#private::Word)));
    let pointees: Vec<PointeeId> = program.pointees.ids().collect();
    let type_values = program.window.types().map(typed);
    let pointee_values = program.pointees.iter().map(|source| pointee(program, source, private));
    let parameters = inputs.iter().map(|(name, _)| name);
    let values = inputs.iter().map(|(_, register)| input(program, *register, private));
    let outputs = program.outputs.len();
    let function = hidden! {
        #[inline(always)]
        #[allow(clippy::too_many_arguments)]
        unsafe fn window<#(#types: #bounds,)* #(#pointees),*>(
            #(_: #private::Typed<#types>,)*
            #(_: #private::Pointee<#pointees>,)*
            #(#parameters: #word),*
        ) -> #private::Outcome<#outputs> {
            #body
        }
    };
    (function, hidden!(#(#type_values,)* #(#pointee_values,)* #(#values),*))
}
