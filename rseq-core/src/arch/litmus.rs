//! First uses of slots on machines that order loads weakly, as the models of these machines have
//! them: herd7 tries every order. It is skipped where there is no such program
//! (<https://github.com/herd/herdtools7>), or no such model: it knows no LoongArch.
//!
//! One thread makes the values, another finds them made and lets windows use them, a third is in a
//! window. A barrier that the kernel puts into that one is a message to it, which it answers behind
//! a barrier of its own, at any place of its window.
use std::format;
use std::process::Command;
use std::string::{String, ToString};
use std::vec::Vec;

/// Instructions of a machine, with registers by number: `%1` to `%9`.
struct Machine {
    /// herd7's name.
    name: &'static str,
    /// Words as `MOV %8,1`: %8 becomes 1.
    one: &'static str,
    /// %1 = what is at %2, and the other way round.
    load: &'static str,
    store: &'static str,
    /// Goes to `out` if %1 is 0.
    branch: &'static str,
    /// Before a store that releases.
    release: &'static str,
    fence: &'static str,
    /// The text that herd7 writes in front of a register's number, and how it calls a word.
    register: &'static str,
    word: &'static str,
}

const MACHINES: [Machine; 4] = [
    Machine {
        name: "AArch64",
        one: "MOV %8,#1",
        load: "LDR %1,[%2]",
        store: "STR %1,[%2]",
        branch: "CBZ %1,out",
        release: "DMB ISH",
        fence: "DMB SY",
        register: "X",
        word: "int64_t",
    },
    Machine {
        name: "ARM",
        one: "MOV %8,#1",
        load: "LDR %1,[%2]",
        store: "STR %1,[%2]",
        branch: "CMP %1,#0;BEQ out",
        release: "DMB",
        fence: "DMB",
        register: "R",
        word: "int",
    },
    Machine {
        name: "RISCV",
        one: "ori %8,x0,1",
        load: "ld %1,0(%2)",
        store: "sd %1,0(%2)",
        branch: "beq %1,x0,out",
        release: "fence rw,w",
        fence: "fence rw,rw",
        register: "x1",
        word: "int64_t",
    },
    Machine {
        name: "PPC",
        one: "li %8,1",
        load: "ld %1,0(%2)",
        store: "std %1,0(%2)",
        branch: "cmpwi %1,0;beq out",
        release: "lwsync",
        fence: "sync",
        register: "r",
        word: "int64_t",
    },
];

/// The words, and the numbers of the registers that hold their addresses.
const WORDS: [(&str, u32); 4] = [("first", 3), ("limit", 4), ("message", 5), ("answer", 6)];

impl Machine {
    /// The text with this machine's registers in it.
    fn named(&self, text: &str) -> String {
        text.replace('%', self.register)
    }

    fn load(&self, to: &str, from: &str) -> String {
        self.named(&self.load.replace("%1", to).replace("%2", from))
    }

    fn store(&self, to: &str) -> String {
        self.named(&self.store.replace("%1", "%8").replace("%2", to))
    }

    /// The test with the fence, which meets the window at this place, or without one.
    fn litmus(&self, place: Option<usize>) -> String {
        let one = self.named(self.one);
        let (fence, release) = (self.fence.to_string(), self.release.to_string());
        let maker = [one.clone(), release.clone(), self.store("%3")].to_vec();
        let mut opener = [one.clone(), self.load("%1", "%3")].to_vec();
        match place {
            Some(_) => opener.extend([fence.clone(), self.store("%5"), self.load("%7", "%6"), fence.clone()]),
            None => opener.push(release),
        }
        opener.push(self.store("%4"));
        let mut window = [self.load("%1", "%4"), self.named(self.branch), self.load("%9", "%3")].to_vec();
        if let Some(place) = place {
            window.splice(place..place, [self.load("%7", "%5"), fence, self.store("%6")]);
        }
        window.insert(0, one);
        window.push("out:".into());
        self.text([maker, opener, window], place.is_some())
    }

    fn text(&self, threads: [Vec<String>; 3], fenced: bool) -> String {
        let threads = threads.map(|lines| lines.join(";").split(';').map(String::from).collect::<Vec<_>>());
        let words = WORDS.map(|(word, _)| format!("{} {word}=0;", self.word)).concat();
        let addresses = [0, 1, 2]
            .map(|thread| WORDS.map(|(word, number)| format!("{thread}:{}{number}={word};", self.register)).concat());
        let length = threads.iter().map(Vec::len).max().unwrap_or_default();
        let line =
            |number: usize| threads.each_ref().map(|lines| lines.get(number).map_or("", String::as_str)).join("|");
        let lines: String = (0..length).map(|number| format!("{};\n", line(number))).collect();
        // The limit was found, the first slot wasn't, and message and answer arrived.
        let found =
            if fenced { r"1:%1=1 /\ 2:%1=1 /\ 2:%9=0 /\ 1:%7=1 /\ 2:%7=1" } else { r"1:%1=1 /\ 2:%1=1 /\ 2:%9=0" };
        let found = self.named(found);
        format!("{} first-use\n{{ {words} {} }}\nP0|P1|P2;\n{lines}exists ({found})\n", self.name, addresses.concat())
    }
}

/// The observation of herd7: true if a window goes to a slot that there isn't. `None` without
/// herd7.
fn observed(litmus: &str) -> Option<String> {
    let file = std::env::temp_dir().join(format!("rseq-first-use-{}.litmus", std::process::id()));
    std::fs::write(&file, litmus).expect("it is a place for files");
    let output = Command::new("herd7").arg(&file).output();
    std::fs::remove_file(&file).expect("it was written");
    let output = output.ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let observation = text.lines().find_map(|line| line.strip_prefix("Observation first-use ")?.split(' ').next());
    Some(observation.unwrap_or_else(|| panic!("herd7 says nothing of\n{litmus}\n{text}")).to_string())
}

#[test]
fn windows_find_the_slots_of_a_limit() {
    for machine in &MACHINES {
        let litmus = machine.litmus(None);
        let Some(without) = observed(&litmus) else { return std::println!("skipped: needs herd7") };
        assert_eq!(without, "Sometimes", "the control:\n{litmus}");
        // Before, between and behind its instructions.
        for place in 0..=3 {
            let litmus = machine.litmus(Some(place));
            assert_eq!(observed(&litmus).as_deref(), Some("Never"), "{litmus}");
        }
    }
}
