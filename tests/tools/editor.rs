//! Completion and hover inside sections, asked of a real rust-analyzer: in whole code, and in code
//! that is still being typed.
//!
//! An editor expands a section each time it is asked, so the macro must leave the user's names and
//! types in whatever it makes of a section that it can't read yet. Nothing but an editor shows
//! whether it does.
#![cfg(unix)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use support::fixture::{Fixture, print_of};

/// A question at the `$0` in a section.
struct Case {
    name: &'static str,
    section: &'static str,
    expected: Expected,
}

/// The contents that an answer must have.
enum Expected {
    /// Completion offers these.
    Offers(&'static [&'static str]),
    /// Hover shows one of these: the same type is written in more than one way.
    Shows(&'static [&'static str]),
}

use Expected::{Offers, Shows};

const WHOLE: &[Case] = &[
    Case {
        name: "the type of a binding of prepare",
        section: "prepare |cpu| { let sl$0ot = &HITS[cpu]; let next = slot.load(Relaxed) + 1; } commit store(slot, next)",
        expected: Shows(&["slot: &Atomic<u64>", "slot: &AtomicU64"]),
    },
    Case {
        name: "the methods of a binding of prepare",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0load(Relaxed) + 1; } commit store(slot, next)",
        expected: Offers(&["load", "fetch_add"]),
    },
    Case {
        name: "the type of the index",
        section: "prepare |cpu| { let slot = &HITS[c$0pu]; } commit store(slot, 1)",
        expected: Shows(&["cpu: CpuId"]),
    },
    Case {
        name: "a binding of prepare in the commit",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(sl$0ot, 1)",
        expected: Shows(&["slot: &Atomic<u64>", "slot: &AtomicU64"]),
    },
    Case {
        name: "the number of aborts",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, 1) abort |n| { let more = $0n + 1; }",
        expected: Shows(&["n: u32"]),
    },
];

const HALF_TYPED: &[Case] = &[
    Case {
        name: "a dot, and more statements behind it",
        section: "prepare |cpu| {
            let slot = &HITS[cpu];
            slot.$0
            let next = slot.load(Relaxed) + 1;
        }
        commit store(slot, next)",
        expected: Offers(&["load"]),
    },
    Case {
        name: "a dot and a semicolon",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0; } commit store(slot, next)",
        expected: Offers(&["load"]),
    },
    Case {
        name: "a dot at the end of prepare",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0 } commit store(slot, next)",
        expected: Offers(&["load"]),
    },
    Case {
        name: "no commit yet",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0 }",
        expected: Offers(&["load"]),
    },
    Case {
        name: "no commit yet, but a whole prepare",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0load(Relaxed); }",
        expected: Offers(&["load"]),
    },
    Case {
        name: "half a keyword",
        section: "prepare |cpu| { let slot = &HITS[cpu]; let next = slot.$0load(Relaxed); } com",
        expected: Offers(&["load"]),
    },
    Case {
        name: "no value yet",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, slot.$0)",
        expected: Offers(&["load"]),
    },
    Case {
        name: "no value yet, and clauses behind it",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, slot.$0) => 1 abort |n| { drop(n); }",
        expected: Offers(&["load"]),
    },
    Case {
        name: "no place yet",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot.$0)",
        expected: Offers(&["load"]),
    },
    Case {
        name: "the result",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, 1) => slot.$0",
        expected: Offers(&["load"]),
    },
    Case {
        name: "the result, and a clause behind it",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, 1) => slot.$0 abort |n| { drop(n); }",
        expected: Offers(&["load"]),
    },
    Case {
        name: "a dot in abort, and more statements behind it",
        section: "prepare |cpu| { let slot = &HITS[cpu]; } commit store(slot, 1) abort |n| { n.$0 let more = n + 1; }",
        expected: Offers(&["wrapping_add"]),
    },
];

const CRITICAL: &[Case] = &[
    Case {
        name: "the type of what critical loads",
        section: "prepare |cpu| { let list = &LISTS[cpu]; }
        critical { let fir$0st = load(&list.head); }
        commit store(&list.head, first)",
        expected: Shows(&["first: *mut Node"]),
    },
    Case {
        name: "the methods of what critical loads, with nothing behind it that would tell its type",
        section: "prepare |cpu| { let list = &LISTS[cpu]; } critical { let first = load(&list.head); first.$0 }",
        expected: Offers(&["is_null"]),
    },
    Case {
        name: "a field in critical",
        section: "prepare |cpu| { let list = &LISTS[cpu]; }
        critical { let first = load(&list.$0head); }
        commit store(&list.head, first)",
        expected: Offers(&["head"]),
    },
    Case {
        name: "a field in critical, half typed",
        section: "prepare |cpu| { let list = &LISTS[cpu]; } critical { let first = load(&list.$0) }",
        expected: Offers(&["head"]),
    },
    Case {
        name: "the result of a section with critical",
        section: "prepare |cpu| { let list = &LISTS[cpu]; }
        critical { let first = load(&list.head); }
        commit store(&list.head, first)
        => first.$0",
        expected: Offers(&["is_null"]),
    },
];

/// Inside a section names are completed and types shown, wherever in it, whole or half typed.
#[test]
fn completion_and_hover_in_sections() {
    if let Some(reason) = missing() {
        println!("skipped: {reason}");
        return;
    }
    let mut editor = Editor::start();
    editor.wait_for(&WHOLE[0]);
    let cases = [WHOLE, HALF_TYPED, CRITICAL].into_iter().flatten();
    let wrong: Vec<_> = cases.filter_map(|case| editor.answer(case).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A tool that this machine lacks for these tests.
fn missing() -> Option<String> {
    match Command::new("rust-analyzer").arg("--version").output() {
        Err(error) => return Some(format!("rust-analyzer can't be run: {error}")),
        // The command may be there without the toolchain's component.
        Ok(output) if !output.status.success() => {
            return Some(format!("no rust-analyzer: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        Ok(_) => {}
    }
    // Without it the types of `core` have no names and no methods. rust-analyzer looks in both
    // places.
    let of_toolchain = || Path::new(&print_of(Command::new("rustc").args(["--print", "sysroot"]))).join(SOURCE);
    let source = std::env::var_os("RUST_SRC_PATH").map_or_else(of_toolchain, PathBuf::from);
    (!source.join("core").is_dir()).then(|| format!("no source of the standard library (rust-src) in {source:?}"))
}

/// Where a toolchain has the source of the standard library.
const SOURCE: &str = "lib/rustlib/src/rust/library";

/// For everything together: where rust-analyzer starts from nothing, it has a procedural macro
/// built first.
const PATIENCE: Duration = Duration::from_secs(900);

/// The mark in a case where the question is asked.
const CURSOR: &str = "$0";

/// A rust-analyzer with one open document.
struct Editor {
    process: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    deadline: Instant,
    /// The document's address.
    uri: String,
    /// Its text up to the section.
    before: String,
    /// Counts requests and versions of the document.
    count: u32,
    /// The last that it said about itself.
    status: Value,
}

impl Editor {
    /// Opens the fixture and waits until it is loaded.
    fn start() -> Self {
        // Built first: this shows that the document is right as it stands, and gives the fixture
        // its lock file.
        Fixture::new("editor").build();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/editor");
        let document = root.join("src/lib.rs");
        let text = std::fs::read_to_string(&document).expect("the fixture can be read");
        let (before, _) = text.split_once("rseq! {").expect("the fixture has a section");
        let before = before.to_owned();
        let mut process = Command::new("rust-analyzer")
            .current_dir(&root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("rust-analyzer starts");
        let (input, output) = (process.stdin.take().expect("piped"), process.stdout.take().expect("piped"));
        let (sender, messages) = channel();
        thread::spawn(move || receive(output, &sender));
        let deadline = Instant::now() + PATIENCE;
        let uri = uri(&document);
        let mut editor = Self { process, input, messages, deadline, uri, before, count: 0, status: Value::Null };
        editor.open(&root, &text);
        editor
    }

    fn open(&mut self, root: &Path, text: &str) {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("editor");
        let answer = self.request(
            "initialize",
            &json!({
                "processId": std::process::id(),
                "rootUri": uri(root),
                "capabilities": {
                    "experimental": { "serverStatusNotification": true },
                    "textDocument": { "hover": { "contentFormat": ["plaintext"] } },
                },
                // Nothing but what the questions need.
                "initializationOptions": {
                    "checkOnSave": false,
                    "cachePriming": { "enable": false },
                    "procMacro": { "enable": true },
                    "cargo": { "buildScripts": { "enable": true }, "targetDir": target },
                },
            }),
        );
        answer.expect("rust-analyzer takes these settings");
        self.notify("initialized", json!({}));
        let document = json!({ "uri": self.uri, "languageId": "rust", "version": 0, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
        while self.status["quiescent"] != true {
            let message = self.next();
            self.take(&message);
        }
    }

    /// Asks again until the answer is right: a server that is quiescent may yet start the one that
    /// expands macros.
    fn wait_for(&mut self, case: &Case) {
        while let Err(wrong) = self.answer(case) {
            assert!(Instant::now() < self.deadline, "never ready: {wrong}\n{:#}", self.status);
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Puts the case's section into the document and asks; an error says what the answer was
    /// instead.
    fn answer(&mut self, case: &Case) -> Result<(), String> {
        let Case { name, section, expected } = case;
        let position = self.show(section);
        match expected {
            Offers(names) => {
                let labels = labels(&self.ask("textDocument/completion", &position));
                let offered = |name: &&str| labels.iter().any(|label| label == name);
                if names.iter().all(offered) { Ok(()) } else { Err(format!("{name}: {labels:?} without {names:?}")) }
            }
            Shows(types) => {
                let answer = self.ask("textDocument/hover", &position);
                let text = answer["contents"]["value"].as_str().unwrap_or_default();
                let shown = types.iter().any(|shown| text.contains(shown));
                if shown { Ok(()) } else { Err(format!("{name}: {text:?} without {types:?}")) }
            }
        }
    }

    /// Makes this the document's section; returns where the cursor stands, as requests name it.
    fn show(&mut self, section: &str) -> Value {
        let (left, right) = section.split_once(CURSOR).expect("every case has a cursor");
        let left = format!("{}rseq! {{ {left}", self.before);
        self.count += 1;
        self.notify(
            "textDocument/didChange",
            json!({
                "textDocument": { "uri": self.uri, "version": self.count },
                "contentChanges": [{ "text": format!("{left}{right} }}\n}}\n") }],
            }),
        );
        let line = left.matches('\n').count();
        let column = left.lines().next_back().map_or(0, str::len);
        json!({ "textDocument": { "uri": self.uri }, "position": { "line": line, "character": column } })
    }

    /// The answer to a question about the document. A server that was interrupted by a change wants
    /// to be asked again.
    fn ask(&mut self, method: &str, position: &Value) -> Value {
        const CONTENT_MODIFIED: i64 = -32801;
        const CANCELLED: i64 = -32802;
        loop {
            match self.request(method, position) {
                Ok(answer) => return answer,
                Err(error) => {
                    let again =
                        error["code"].as_i64().is_some_and(|code| [CONTENT_MODIFIED, CANCELLED].contains(&code));
                    assert!(again, "{method}: {error:#}");
                }
            }
        }
    }

    fn request(&mut self, method: &str, parameters: &Value) -> Result<Value, Value> {
        self.count += 1;
        let id = self.count;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters }));
        loop {
            let mut message = self.next();
            if message["method"].is_null() && message["id"] == id {
                let error = message["error"].take();
                return if error.is_null() { Ok(message["result"].take()) } else { Err(error) };
            }
            self.take(&message);
        }
    }

    /// Messages that come unasked: the server's state, and questions of its own.
    fn take(&mut self, message: &Value) {
        if message["method"] == "experimental/serverStatus" {
            self.status = message["params"].clone();
        } else if !message["method"].is_null() && !message["id"].is_null() {
            // It waits for an answer; that there is nothing to say is one.
            self.send(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": null }));
        }
    }

    fn notify(&mut self, method: &str, parameters: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": parameters }));
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        let sent = write!(self.input, "Content-Length: {}\r\n\r\n{text}", text.len());
        sent.and_then(|()| self.input.flush()).expect("rust-analyzer reads on");
    }

    fn next(&self) -> Value {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let message = self.messages.recv_timeout(left);
        message.unwrap_or_else(|error| panic!("nothing more from rust-analyzer: {error}\n{:#}", self.status))
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Reads messages until the server ends, or the test does.
fn receive(output: ChildStdout, messages: &Sender<Value>) {
    let mut output = BufReader::new(output);
    while let Ok(message) = read(&mut output) {
        if messages.send(message).is_err() {
            return;
        }
    }
}

/// One message: headers, an empty line, and as many bytes of JSON as the headers say.
fn read(input: &mut impl BufRead) -> io::Result<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim().split_once(": ") {
            Some(("Content-Length", bytes)) => length = bytes.parse().map_err(io::Error::other)?,
            Some(_) => {}
            None => break,
        }
    }
    let mut text = Vec::new();
    input.take(length).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// The names that a completion offers, without what is shown behind them.
fn labels(completion: &Value) -> Vec<String> {
    let items = completion["items"].as_array().or(completion.as_array());
    let labels = items.into_iter().flatten().filter_map(|item| item["label"].as_str());
    labels.map(|label| label.split(['(', '!']).next().unwrap_or(label).to_owned()).collect()
}

fn uri(path: &Path) -> String {
    format!("file://{}", path.display())
}
