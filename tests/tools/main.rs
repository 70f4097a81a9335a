//! What looks at sections: audits, debuggers, editors, sanitizers; and the examples as programs.
//! With `miri`, which is a program of its own.

mod audit;
mod debugger;
mod editor;
mod examples;
mod names;
mod sanitizers;
