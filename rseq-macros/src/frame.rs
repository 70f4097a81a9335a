//! Where the registers of a machine are too few for a window, what Rust computes for it waits in
//! memory: in a *frame*, words on the thread's own stack. One register has the frame's address, and
//! each step fetches what it reads just before it. So a window takes no more registers at once than
//! its most demanding step, and what the window computes itself.
//!
//! To fetch is to read memory that no other thread knows, and that the window doesn't change: it
//! may be interrupted and done again.

use crate::ids::Register;
use crate::ir::{Address, Input, Program, RegisterInfo, Step};

/// Has the inputs of the window fetched from a frame: all but the thread descriptor, which is read
/// at its start alone.
pub fn spread(program: &mut Program) {
    let frame = add(program, "the frame", program.area, Some(Input::Frame(Vec::new())));
    let mut waiting = Vec::new();
    let mut steps = Vec::new();
    let whole: Vec<Step> =
        std::mem::take(&mut program.steps).into_iter().flat_map(|step| divide(program, step)).collect();
    for mut step in whole {
        for input in inputs(program, &step) {
            let number = waiting.iter().position(|other| *other == input).unwrap_or_else(|| {
                waiting.push(input);
                waiting.len() - 1
            });
            let name = program.registers[input].name.clone();
            let to = add(program, &name, input, None);
            steps.push(Step::Fetch { to, frame, number });
            step.visit(&mut |register, _| {
                if *register == input {
                    *register = to;
                }
            });
            // The last to read it is the step behind the window. The ways out have the same
            // register, which they fetch by themselves.
            if matches!(step, Step::Disarm { .. }) {
                program.area = to;
            }
        }
        steps.push(step);
    }
    for step in &mut steps {
        if let Step::Exit { area, .. } = step {
            *area = program.area;
        }
    }
    program.steps = steps;
    program.registers[frame].input = Some(Input::Frame(waiting));
}

/// A copy reads five registers at once: three, if its addresses are computed before.
fn divide(program: &mut Program, step: Step) -> Vec<Step> {
    let Step::Copy { from, to, length } = step else { return vec![step] };
    let mut steps = Vec::new();
    let [from, to] = [from, to].map(|at| match at.offset {
        Some(_) => {
            let to = add(program, "an address", at.base, None);
            steps.push(Step::Field { to, at });
            Address::at(to)
        }
        None => at,
    });
    steps.push(Step::Copy { from, to, length });
    steps
}

/// The registers, each once, that a step of the window reads and Rust computes, but for the thread
/// descriptor, and for what exits read away from the window.
fn inputs(program: &Program, step: &Step) -> Vec<Register> {
    let mut inputs: Vec<Register> = step.registers().into_iter().map(|(register, _)| register).collect();
    let is_exit = matches!(step, Step::Exit { .. });
    inputs.retain(|register| !matches!(program.registers[*register].input, None | Some(Input::Descriptor)));
    inputs.retain(|register| !(is_exit && *register == program.area));
    inputs.sort_unstable();
    inputs.dedup();
    inputs
}

/// Adds a register, which stands where another one does in the source.
fn add(program: &mut Program, name: &str, at: Register, input: Option<Input>) -> Register {
    let span = program.registers[at].span;
    program.registers.push(RegisterInfo { name: name.into(), span, input })
}
