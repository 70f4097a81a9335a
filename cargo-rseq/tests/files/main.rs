//! Answers about files: of every kind, of programs as users build them, and of broken
//! ones; and that each rule of `cargo rseq verify` is found broken.

mod built;
mod cli;
mod corpus;
mod formats;
mod hostile;
mod machines;
mod own;
mod programs;
mod verify;
