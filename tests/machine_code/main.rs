//! What compilers and linkers make of sections: instructions beside their goldens, and ELF files.

mod code;
mod codegen;
mod elf;
mod golden;
mod goldens;
mod instructions;
mod linking;
mod operations;
mod sections;
