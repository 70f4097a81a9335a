//! What is said of files: of every kind of file, of programs as users build them, and of broken
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
