//! The objects that the allocator hands out: none is lost, there twice or of the wrong layout. With
//! `global`, which is a program of its own.

#[allow(dead_code, reason = "not all of it is used")]
#[path = "../../src/class.rs"]
mod class;
mod conservation;
mod heap;
mod interrupted;
mod layouts;
