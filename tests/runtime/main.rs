//! The surroundings of sections: the memory of slots, loading and unloading, what is called of
//! libc, and what handlers may call. With `before_main`, which is a program of its own.

mod dlopen;
mod environment;
mod handlers;
mod per_cpu;
mod plugins;
