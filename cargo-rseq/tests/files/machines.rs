//! Sections in the assembly of other machines, where capstone disassembles them: right ones, and
//! what is wrong with others.
#![cfg(feature = "capstone")]

use std::collections::BTreeSet;
use std::process::Command;

use cargo_rseq::Binary;
use cargo_rseq::elf::Image;

/// A machine's instructions.
struct Machine {
    /// Rust's target, whose `core` must be installed.
    target: &'static str,
    /// How an address of 64 bits is written, of this label.
    word: fn(&str) -> String,
    /// The signature, as a word of data or code.
    signature: &'static str,
    load: &'static str,
    /// A branch to the exit, 26, if some condition holds.
    leave: &'static str,
    store: &'static str,
    /// The mistakes that each of these checks must find.
    wrong: &'static [(&'static str, &'static str)],
}

fn quad(label: &str) -> String {
    format!(".quad {label}")
}

fn long(label: &str) -> String {
    format!(".long {label}, 0")
}

#[rustfmt::skip]
const MACHINES: &[Machine] = &[
    Machine {
        target: "aarch64-unknown-linux-gnu", word: quad, signature: ".inst 0xd428bc00",
        load: "ldr x1, [x0]", leave: "cbz x1, 26f", store: "str x1, [x0]",
        wrong: &[
            ("calls", "svc #0"), ("calls", "bl 26f"), ("calls", "br x3"), ("calls", "ret"), ("calls", "brk #1"),
            ("stack", "sub sp, sp, #16"), ("stack", "str x1, [sp, #-16]!"), ("branches", "b.ne 27f"),
        ],
    },
    Machine {
        target: "armv7-unknown-linux-gnueabihf", word: long, signature: ".inst 0xe7f5def3",
        load: "ldr r1, [r0]", leave: "beq 26f", store: "str r1, [r0]",
        wrong: &[
            ("calls", "svc #0"), ("calls", "bl 26f"), ("calls", "bx r3"), ("calls", "bx lr"), ("calls", "udf #1"),
            ("stack", "sub sp, sp, #16"), ("stack", "push {{r1}}"), ("branches", "bne 27f"),
        ],
    },
    Machine {
        target: "riscv64gc-unknown-linux-gnu", word: quad, signature: ".4byte 0xf1401073",
        load: "ld a1, 0(a0)", leave: ".option norelax\nbeqz a1, 26f", store: "sd a1, 0(a0)",
        wrong: &[
            ("calls", "ecall"), ("calls", "jalr a3"), ("calls", "jr a3"), ("calls", "ret"), ("calls", "ebreak"),
            ("stack", "addi sp, sp, -16"), ("branches", "bnez a1, 27f"),
        ],
    },
    Machine {
        target: "s390x-unknown-linux-gnu", word: quad, signature: ".long 0xb2ff0fff",
        load: "lg %r1, 0(%r2)", leave: "je 26f", store: "stg %r1, 0(%r2)",
        wrong: &[
            ("calls", "svc 1"), ("calls", "brasl %r14, 26f"), ("calls", "br %r3"), ("calls", "trap4 0"),
            ("stack", "aghi %r15, -16"), ("branches", "jne 27f"),
        ],
    },
    Machine {
        target: "powerpc64le-unknown-linux-gnu", word: quad, signature: ".long 0x0fe5000b",
        load: "ld 4, 0(3)", leave: "beq 26f", store: "std 4, 0(3)",
        wrong: &[
            ("calls", "sc"), ("calls", "bl 26f"), ("calls", "bctr"), ("calls", "blr"), ("calls", "trap"),
            ("stack", "addi 1, 1, -16"), ("stack", "stdu 1, -32(1)"), ("branches", "bne 27f"),
        ],
    },
];

impl Machine {
    /// A section with this instruction in its window, and what ends it.
    fn source(&self, instruction: &str, commit: &str) -> String {
        let Self { word, signature, load, leave, .. } = self;
        let asm = [
            ".pushsection __rseq_cs, \"aw\"",
            ".balign 32",
            ".long 0, 0",
            &word("23f"),
            &word("24f - 23f"),
            &word("25f"),
            ".popsection",
            ".pushsection __rseq_exit_point_array, \"aw\"",
            &word("23f"),
            &word("26f"),
            ".popsection",
            ".pushsection .text.section, \"ax\"",
            ".balign 8",
            "23:",
            load,
            leave,
            instruction,
            commit,
            "24:",
            "27:",
            load,
            "26:",
            load,
            signature,
            "25:",
            load,
            ".popsection",
        ];
        format!("#![no_std]\ncore::arch::global_asm!(r#\"{}\"#);\n", asm.join("\n"))
    }

    /// The mistakes in it, by the names of checks; `None` if it can't be compiled here.
    fn violations(&self, instruction: &str, commit: &str) -> Option<BTreeSet<String>> {
        let directory = tempfile::tempdir().expect("there is room");
        let (source, object) = (directory.path().join("section.rs"), directory.path().join("section.o"));
        std::fs::write(&source, self.source(instruction, commit)).expect("there is room");
        let mut rustc = Command::new("rustc");
        rustc.args(["--edition=2024", "--crate-type=lib", "--emit=obj", "--target", self.target, "-o"]);
        let output = rustc.arg(&object).arg(&source).output().ok()?;
        let errors = String::from_utf8_lossy(&output.stderr);
        if errors.contains("may not be installed") {
            return None;
        }
        assert!(output.status.success(), "{instruction}: {errors}");
        let bytes = std::fs::read(object).expect("it was written");
        let image = Image::parse(&bytes).expect("it is an ELF file");
        let report = Binary::read(&image).expect("it has a window").verify();
        assert!(report.not_done.contains(&"arming") && !report.not_done.contains(&"calls"), "{report:#?}");
        Some(report.violations().map(|finding| finding.check.to_owned()).collect())
    }
}

#[test]
fn instructions_of_other_machines() {
    for machine in MACHINES {
        let Some(good) = machine.violations("", machine.store) else {
            println!("skipped: no core for {}", machine.target);
            continue;
        };
        assert_eq!(good, BTreeSet::new(), "{}", machine.target);
        let found = machine.violations("", machine.load).expect("it was there just now");
        assert_eq!(found, BTreeSet::from(["commit".to_owned()]), "{}", machine.target);
        for (check, instruction) in machine.wrong {
            let found = machine.violations(instruction, machine.store).expect("it was there just now");
            assert_eq!(found, BTreeSet::from([(*check).to_owned()]), "{}: {instruction}", machine.target);
        }
        println!("{}: {} instructions", machine.target, machine.wrong.len());
    }
}
