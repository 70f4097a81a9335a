//! The window as asm, in a function of its own: generic, so that the types that were inferred for
//! its values are there by name.

use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::Ident;

use super::arch::Machine;
use super::asm::{self, Ways};
use super::portable::with_fields;
use super::tokens::{allow_unsafe, exit_number, hidden, outside, own, typed};
use super::{audit, model};
use crate::allocate::{Allocation, Contents};
use crate::ids::{Id, InsideId, MachineRegister, OutsideId, Register, TypeId};
use crate::ir::{Input, PointeeSource, Program};
use crate::resolve::{Inside, Place};
use crate::target::{Emitter, Target};

/// What a window is written as asm with: a machine, and its registers for the program. None: it is
/// Rust alone, for the model or for nobody.
pub type Asm<'a> = Option<(&'a dyn Machine, &'a Allocation)>;

/// `outcome`: how the window ended; and, if the section repeats by itself, what runs the window
/// once more. Where there is neither asm nor the model, it ends at once.
///
/// What runs it once more is made where it is needed, because what a closure captures is put into
/// memory.
pub fn outcome(program: &Program, asm: Asm<'_>, target: &Target) -> (TokenStream, TokenStream) {
    let private = &target.private();
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
        PointeeSource::Slots(id) => {
            let name = outside(*id);
            hidden!(#private::slot_pointee(#name))
        }
        PointeeSource::Elements(id) => {
            let name = outside(*id);
            hidden!(#name.pointee())
        }
        PointeeSource::Behind(value) => {
            let typed = typed(program.window.values[*value].ty.expect("an index is no pointer"));
            hidden!(#private::pointee(#typed))
        }
        PointeeSource::ElementOf(number) => {
            let name = element_pointee(*number);
            hidden!(#name)
        }
    }
}

/// What Rust computes for a register of the window.
fn input(program: &Program, register: Register, private: &TokenStream) -> TokenStream {
    match &program.registers[register].input {
        Some(Input::Descriptor) => hidden!(#private::Prepared::descriptor(&__rseq_section).expose_provenance()),
        Some(Input::Area) => hidden!(#private::Prepared::area(&__rseq_section).expose_provenance()),
        Some(Input::OwnArea) if program.repeats_by_itself() => hidden!(#private::area_for_windows()),
        Some(Input::OwnArea) => hidden!(#private::area_for_attempts()),
        Some(Input::Index) => hidden!(#private::Prepared::number(&__rseq_section)),
        Some(Input::Place(id)) => place_operand(*id),
        Some(Input::Operand(id)) => {
            let name = outside(*id);
            hidden!(#private::bits(#name))
        }
        Some(Input::Slots(id)) => {
            let name = outside(*id);
            hidden!(#private::slots_operand(#name))
        }
        Some(Input::Elements(id, None)) => place_operand(*id),
        Some(Input::Elements(id, Some(number))) => {
            let (first, offset) = (place_operand(*id), offset(*number));
            hidden!((#first + #offset))
        }
        Some(Input::Offset(number)) => {
            let offset = offset(*number);
            hidden!(#offset)
        }
        Some(Input::Frame(registers)) => {
            let values = registers.iter().map(|register| input(program, *register, private));
            hidden!((&raw const *&[#(#values),*]).expose_provenance())
        }
        None => hidden!(0),
    }
}

/// The address of a place, as an operand.
fn place_operand(id: OutsideId) -> TokenStream {
    let name = outside(id);
    hidden!(#name.operand())
}

/// The function with the window as asm, and its arguments.
fn call_asm(
    program: &Program,
    machine: &dyn Machine,
    allocation: &Allocation,
    private: &TokenStream,
) -> (TokenStream, TokenStream) {
    let ways = if program.outputs.is_empty() { Ways::Labels } else { Ways::Number(allocation.of[program.area]) };
    let lines = asm::window(machine, program, allocation, ways);
    let contents = &allocation.contents;
    let inputs = contents.ids().filter_map(|id| Some((name(id), contents[id].input?))).collect();
    let block = block(program, machine, allocation, ways, &lines, private);
    call(program, inputs, |ty| asm::uses(&lines, &format!("signed{ty}")), &block, private)
}

/// The function with the window for the model, and its arguments.
fn call_model(program: &Program, private: &TokenStream) -> (TokenStream, TokenStream) {
    let inputs = program.registers.ids().filter(|register| program.registers[*register].input.is_some());
    let inputs = inputs.map(|register| (name(register), register)).collect();
    let body = model::Listing::of(program).window(name, private);
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
    let types: Vec<Ident> = program.window.types().map(|ty| format_ident!("T{}", ty.0)).collect();
    let bounds = program.window.types().map(|id| is_word(id).then(|| hidden!(#private::Word)));
    let pointees: Vec<Ident> = (0..program.pointees.len()).map(|id| format_ident!("P{id}")).collect();
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

/// The name of a register as an operand of the asm.
fn operand_name(register: MachineRegister) -> Ident {
    format_ident!("s{}", register.0, span = Span::mixed_site())
}

/// The name of the value that Rust puts into a register.
fn name(register: impl Id) -> Ident {
    own(format_args!("s{}", register.number()))
}

/// The body of the function.
fn block(
    program: &Program,
    machine: &dyn Machine,
    allocation: &Allocation,
    ways: Ways,
    lines: &[String],
    private: &TokenStream,
) -> TokenStream {
    let (scratch, options) = (machine.scratch(program, lines), machine.options());
    let operands = allocation.contents.ids().map(|register| {
        let contents = &allocation.contents[register];
        let class = machine.class_of(&operand_name(register).to_string(), lines);
        let is_changed = changes(program, contents) || machine.borrows(program);
        operand(register, &class, contents, is_changed, ways)
    });
    let constants = constants(machine, program, lines, private);
    let word = hidden!(#private::core::primitive::usize);
    if let Ways::Number(way) = ways {
        let contents = &allocation.contents;
        let results = contents.ids().filter(|register| contents[*register].output.is_some()).map(result);
        let values = program.outputs.iter().map(|(_, register)| result(allocation.of[*register]));
        let end = result(way);
        return hidden! {
            #(let #results: #word;)*
            let #end: #word;
            unsafe { #private::core::arch::asm!(#(#lines,)* #(#operands,)* #constants #scratch options(#options)) };
            #private::Outcome { end: #end, values: [#(#values),*] }
        };
    }
    let exits = program.exits().map(|exit| {
        let (label, number) = (format_ident!("exit{}", exit.0), exit_number(exit));
        hidden!(#label = label { return #private::Outcome { end: #number, values: [] } },)
    });
    hidden! {
        unsafe {
            #private::core::arch::asm!(
                #(#lines,)*
                #(#operands,)*
                #constants
                aborted = label { return #private::Outcome::ABORTED },
                #(#exits)*
                #scratch
                options(#options),
            )
        };
        #private::Outcome::committed([])
    }
}

/// Whether the compiler is told that the window changes what is in a register. (For a negative control
/// it isn't, where it should be.)
fn changes(program: &Program, contents: &Contents) -> bool {
    contents.written && !(contents.input.is_some() && program.has_flaw("clobbered_retry"))
}

/// Where a register is found behind the window.
fn result(register: MachineRegister) -> Ident {
    own(format_args!("r{register}"))
}

fn operand(
    register: MachineRegister,
    class: &TokenStream,
    contents: &Contents,
    changed: bool,
    ways: Ways,
) -> TokenStream {
    let (name, input, output) = (operand_name(register), name(register), result(register));
    let is_output = contents.output.is_some() || matches!(ways, Ways::Number(way) if way == register);
    match (contents.input.is_some(), is_output, changed) {
        (true, true, _) => hidden!(#name = inout(#class) #input => #output),
        (true, false, true) => hidden!(#name = inout(#class) #input => _),
        (true, false, false) => hidden!(#name = in(#class) #input),
        (false, true, _) => hidden!(#name = out(#class) #output),
        (false, false, _) => hidden!(#name = out(#class) _),
    }
}

/// The widths and signs of types, the sizes of slots and elements, and where the number of CPUs is:
/// as far as the lines need them.
fn constants(machine: &dyn Machine, program: &Program, lines: &[String], private: &TokenStream) -> TokenStream {
    let needs = |name: &str| asm::uses(lines, name);
    let mut tokens = TokenStream::new();
    for TypeId(id) in program.window.types() {
        let (ty, bytes, sign) = (format_ident!("T{id}"), format_ident!("b{id}"), format_ident!("signed{id}"));
        if needs(&bytes.to_string()) {
            tokens.extend(hidden!(#bytes = const #private::bytes_of::<#ty>(),));
        }
        if needs(&sign.to_string()) {
            tokens.extend(hidden!(#sign = const { <#ty as #private::Word>::SIGNED as #private::core::primitive::u8 },));
        }
    }
    for (id, source) in program.pointees.iter().enumerate() {
        let (ty, size) = (format_ident!("P{id}"), format_ident!("p{id}"));
        let (power, with_power) = (format_ident!("n{id}"), needs(&format!("n{id}")));
        tokens.extend(match source {
            PointeeSource::Slots(_) if with_power => hidden!(#power = const #private::slot_power::<#ty>(),),
            PointeeSource::Slots(_) => hidden!(#size = const #private::slot_bytes::<#ty>(),),
            _ => hidden!(#size = const #private::bytes_of::<#ty>(),),
        });
    }
    if needs("fast") {
        let class = machine.class();
        tokens.extend(match machine.fast_in_register() {
            true => hidden!(fast = in(#class) &raw const #private::FAST,),
            false => hidden!(fast = sym #private::FAST,),
        });
        tokens.extend(hidden!(cpus_offset = const #private::CPUS_OFFSET,));
    }
    tokens
}
