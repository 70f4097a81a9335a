//! The protocol: nothing is lost and nothing is there twice, whatever disturbs a section and
//! wherever. With `kernel`, which is a program of its own.

mod by_stores;
mod circles;
mod drain;
mod exact;
mod explore;
mod model;
mod mutants;
mod nested;
mod registration;
mod soak;
mod window;
