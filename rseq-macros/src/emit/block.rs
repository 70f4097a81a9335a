//! The block of asm around the lines of a window: what goes in and comes out, and where it goes.

use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::Ident;

use super::arch::Machine;
use super::asm::{self, Ways};
use super::code::{Code, Name};
use super::tokens::{exit_number, hidden, in_register, own};
use crate::allocate::Allocation;
use crate::ids::{Id, MachineRegister, PointeeId};
use crate::ir::{PointeeSource, Program};

/// A window as asm.
pub struct Block<'p> {
    program: &'p Program,
    machine: &'p dyn Machine,
    allocation: &'p Allocation,
    ways: Ways,
    pub code: Code,
    private: &'p TokenStream,
}

impl<'p> Block<'p> {
    pub fn of(
        program: &'p Program,
        machine: &'p dyn Machine,
        allocation: &'p Allocation,
        private: &'p TokenStream,
    ) -> Self {
        let number = Ways::Number(allocation.of[program.area]);
        let ways = if program.outputs.is_empty() { Ways::Labels } else { number };
        let code = asm::window(machine, program, allocation, ways);
        Self { program, machine, allocation, ways, code, private }
    }

    /// The body of the function around it.
    pub fn body(&self) -> TokenStream {
        let Self { program, machine, allocation, private, .. } = self;
        let (lines, options) = (self.code.text(), machine.options());
        let contents = &allocation.contents;
        let (operands, constants) = (contents.ids().map(|register| self.operand(register)), self.constants());
        let scratch = machine.scratch(program, &self.code);
        let word = hidden!(#private::core::primitive::usize);
        if let Ways::Number(way) = self.ways {
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
        let aborted = ident(Name::Aborted);
        let exits = program.exits().map(|exit| {
            let (label, number) = (ident(Name::Exit(exit)), exit_number(exit));
            hidden!(#label = label { return #private::Outcome { end: #number, values: [] } },)
        });
        hidden! {
            unsafe {
                #private::core::arch::asm!(
                    #(#lines,)*
                    #(#operands,)*
                    #constants
                    #aborted = label { return #private::Outcome::ABORTED },
                    #(#exits)*
                    #scratch
                    options(#options),
                )
            };
            #private::Outcome::committed([])
        }
    }

    /// The compiler is told that the window changes this register. (For a negative control it
    /// isn't, where it should be.)
    fn changes(&self, register: MachineRegister) -> bool {
        let contents = &self.allocation.contents[register];
        let is_hidden = contents.input.is_some() && self.program.has_flaw("clobbered_retry");
        contents.written && !is_hidden || self.machine.borrows(self.program)
    }

    fn operand(&self, register: MachineRegister) -> TokenStream {
        let (operand, contents) = (Name::Value(register), &self.allocation.contents[register]);
        let class = self.machine.class_of(operand, &self.code);
        let (operand, input, output) = (ident(operand), in_register(register), result(register));
        let is_output = contents.output.is_some() || matches!(self.ways, Ways::Number(way) if way == register);
        match (contents.input.is_some(), is_output, self.changes(register)) {
            (true, true, _) => hidden!(#operand = inout(#class) #input => #output),
            (true, false, true) => hidden!(#operand = inout(#class) #input => _),
            (true, false, false) => hidden!(#operand = in(#class) #input),
            (false, true, _) => hidden!(#operand = out(#class) #output),
            (false, false, _) => hidden!(#operand = out(#class) _),
        }
    }

    /// The widths and signs of types, the sizes of slots and elements, and where the number of CPUs
    /// is: as far as the lines need them.
    fn constants(&self) -> TokenStream {
        let (private, mut tokens) = (self.private, TokenStream::new());
        for id in self.program.window.types() {
            let ty = format_ident!("T{}", id.0);
            if self.code.uses(Name::Bytes(id)) {
                let bytes = ident(Name::Bytes(id));
                tokens.extend(hidden!(#bytes = const #private::bytes_of::<#ty>(),));
            }
            if self.code.uses(Name::Signed(id)) {
                let sign = ident(Name::Signed(id));
                tokens.extend(
                    hidden!(#sign = const { <#ty as #private::Word>::SIGNED as #private::core::primitive::u8 },),
                );
            }
        }
        for (number, source) in self.program.pointees.iter().enumerate() {
            let id = PointeeId::new(number);
            let (ty, size, power) = (format_ident!("P{number}"), ident(Name::Size(id)), ident(Name::Power(id)));
            tokens.extend(match source {
                PointeeSource::Slots(_) if self.code.uses(Name::Power(id)) => {
                    hidden!(#power = const #private::slot_power::<#ty>(),)
                }
                PointeeSource::Slots(_) => hidden!(#size = const #private::slot_bytes::<#ty>(),),
                _ => hidden!(#size = const #private::bytes_of::<#ty>(),),
            });
        }
        if self.code.uses(Name::Fast) {
            let (fast, cpus_offset, class) = (ident(Name::Fast), ident(Name::CpusOffset), self.machine.class());
            tokens.extend(match self.machine.fast_in_register() {
                true => hidden!(#fast = in(#class) &raw const #private::FAST,),
                false => hidden!(#fast = sym #private::FAST,),
            });
            tokens.extend(hidden!(#cpus_offset = const #private::CPUS_OFFSET,));
        }
        tokens
    }
}

/// An operand of the block, as `asm!` has it.
fn ident(name: Name) -> Ident {
    Ident::new(&name.to_string(), Span::mixed_site())
}

/// Where a register is found behind the window.
fn result(register: MachineRegister) -> Ident {
    own(format_args!("r{register}"))
}
