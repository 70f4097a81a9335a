//! Tools that look at sections: audits, debuggers, editors, sanitizers; the examples as programs;
//! and the tree itself (`house`, `names`). With `miri`, which is a program of its own.

mod audit;
mod debugger;
mod editor;
mod examples;
mod house;
mod names;
mod sanitizers;
