//! Sections as compilers and linkers make them: instructions beside their goldens, and ELF files.

mod code;
mod codegen;
mod elf;
mod golden;
mod goldens;
mod instructions;
mod linking;
mod numbers;
mod operations;
mod sections;
