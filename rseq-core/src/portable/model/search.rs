//! The search through all states of some threads, and the rules that must hold in each. A thread is
//! where its answers say, a state is a number for each thread and the words, and states that were
//! seen are not looked at again.

use std::collections::{HashMap, HashSet};
use std::string::String;
use std::vec::Vec;
use std::{format, vec};

use super::thread::{Answer, Event, Program, Replay, SLOTS, Slot, Step, WORDS, WORDS_OF_SLOT, concern};

/// A part that is left out, or wrong, for a control.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    None,
    /// Nobody loses patience: whoever waits for a section waits until it ends.
    EndlessPatience,
    /// A slot that is taken from a section stays its.
    NothingIsTaken,
    /// A window doesn't say that it runs.
    HiddenWindow,
    /// A fence doesn't see windows.
    BlindFence,
    /// Who leaves a section doesn't look whose slot it is by now.
    LeavesBlindly,
    /// Handlers come on top of windows.
    SignalsInWindows,
}

/// A place in a thread's code, with what it remembers there.
struct Place {
    /// Some that lead there.
    answers: Vec<Answer>,
    relevant: Vec<Answer>,
    next: Step,
    /// A handler may come here.
    is_open: bool,
    /// It, or what the handler interrupted, has looked at a word: should that change, waiting is
    /// over.
    has_looked: bool,
    after: HashMap<Answer, usize>,
}

/// The places of a thread, as far as they were reached.
struct Code {
    program: Program,
    this: usize,
    ignores_masks: bool,
    places: Vec<Place>,
    numbers: HashMap<(Vec<Answer>, bool, bool), usize>,
}

impl Code {
    fn of(number: usize, program: Program, flaw: Flaw) -> Self {
        let ignores_masks = flaw == Flaw::SignalsInWindows;
        let mut code =
            Self { program, this: 2 * (number + 1), ignores_masks, places: Vec::new(), numbers: HashMap::new() };
        code.place(Vec::new());
        code
    }

    /// The place that is reached by these answers.
    fn place(&mut self, answers: Vec<Answer>) -> usize {
        let Replay { answers, masked, handled, relevant, next, .. } = Replay::run(self.program, self.this, answers);
        let next = next.unwrap_or(Step::End);
        *self.numbers.entry((relevant.clone(), masked, handled)).or_insert_with(|| {
            let has_handler = !handled && !self.program.handler.is_empty() && next != Step::End;
            let is_open = has_handler && (!masked || self.ignores_masks);
            let mut parts = relevant.split(|answer| *answer == Answer::Handler);
            let has_looked = parts.any(|part| matches!(part.last(), Some(Answer::Value(_))));
            self.places.push(Place { answers, relevant, next, is_open, has_looked, after: HashMap::new() });
            self.places.len() - 1
        })
    }

    fn after(&mut self, place: usize, answer: Answer) -> usize {
        if let Some(after) = self.places[place].after.get(&answer) {
            return *after;
        }
        let mut answers = self.places[place].answers.clone();
        answers.push(answer);
        let after = self.place(answers);
        self.places[place].after.insert(answer, after);
        after
    }
}

/// A section that has begun, as the rules see it.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Begun {
    slot: Slot,
    /// It mustn't commit any more: another section of its slot did, or was on top of it, or a fence
    /// has returned.
    is_over: bool,
    /// The fences, by their names, that were called since.
    fences: u16,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct State {
    words: [u16; WORDS],
    places: Vec<usize>,
    /// By thread: a word was changed since it began to look.
    changed: u8,
    sections: Vec<Vec<Begun>>,
    in_windows: [u8; SLOTS],
    is_stopped: [bool; SLOTS],
    committed: [u8; SLOTS],
}

/// A search through all states.
pub(super) struct Search {
    flaw: Flaw,
    threads: Vec<Code>,
    seen: HashSet<State>,
    todo: Vec<State>,
}

impl Search {
    /// How many states there are, or what is wrong in one of them.
    pub(super) fn run(programs: &[Program], flaw: Flaw) -> Result<usize, String> {
        let threads = programs.iter().enumerate().map(|(number, program)| Code::of(number, *program, flaw));
        let mut search = Self { flaw, threads: threads.collect(), seen: HashSet::new(), todo: Vec::new() };
        let start = State {
            words: [0; WORDS],
            places: vec![0; programs.len()],
            changed: 0,
            sections: vec![Vec::new(); programs.len()],
            in_windows: [0; SLOTS],
            is_stopped: [false; SLOTS],
            committed: [0; SLOTS],
        };
        search.todo.push(start);
        while let Some(state) = search.todo.pop() {
            search.expand(&state).map_err(|wrong| format!("{wrong}\nin {programs:?}"))?;
        }
        Ok(search.seen.len())
    }

    /// Finds the states that follow.
    fn expand(&mut self, state: &State) -> Result<(), String> {
        let mut is_stuck = true;
        // Where a thread does what concerns no other, it makes no difference when.
        let alone = (0..self.threads.len()).find(|thread| self.is_alone(state, *thread));
        for thread in alone.map_or(0..self.threads.len(), |thread| thread..thread + 1) {
            for answer in self.answers(state, thread) {
                is_stuck = false;
                let next = self.go_on(state.clone(), thread, answer)?;
                if self.seen.insert(next.clone()) {
                    self.todo.push(next);
                }
            }
        }
        let have_ended = (0..self.threads.len()).all(|thread| self.next(state, thread) == Step::End);
        if is_stuck && !have_ended {
            return Err("all wait".into());
        }
        let counts = [0, 1].map(|slot| state.words[slot * WORDS_OF_SLOT + 2]);
        if have_ended && counts != state.committed.map(u16::from) {
            return Err(format!("{:?} sections have committed, and {counts:?} are counted", state.committed));
        }
        Ok(())
    }

    /// The thread goes on, on a slot of its own.
    fn is_alone(&self, state: &State, thread: usize) -> bool {
        let word = match self.next(state, thread) {
            Step::Load(word) | Step::Store(word, _) | Step::Swap(word, _) => word,
            Step::Or(word, _) | Step::Replace(word, _, _) => word,
            Step::Wait | Step::Mask(_) | Step::Pause | Step::Event(_) | Step::End => return false,
        };
        let others = self.threads.iter().enumerate().filter(|(other, _)| *other != thread);
        let concerns = |code: &Code| concern(code.program.actions) | concern(code.program.handler);
        others.fold(0, |slots, (_, code)| slots | concerns(code)) & 1 << (word / WORDS_OF_SLOT) == 0
    }

    fn next(&self, state: &State, thread: usize) -> Step {
        self.threads[thread].places[state.places[thread]].next
    }

    /// The answers that the thread may find.
    fn answers(&self, state: &State, thread: usize) -> Vec<Answer> {
        let place = &self.threads[thread].places[state.places[thread]];
        let mut answers = match place.next {
            Step::End => Vec::new(),
            Step::Wait => self.ends_of_wait(state, thread, place),
            // Found when it goes there.
            _ => vec![Answer::Done],
        };
        answers.extend(place.is_open.then_some(Answer::Handler));
        answers
    }

    fn ends_of_wait(&self, state: &State, thread: usize, place: &Place) -> Vec<Answer> {
        let has_changed = state.changed & 1 << thread != 0;
        let last = place.relevant.iter().rfind(|answer| !matches!(answer, Answer::Value(_)));
        let has_patience = last != Some(&Answer::OutOfPatience) && self.flaw != Flaw::EndlessPatience;
        let mut answers = Vec::new();
        answers.extend(has_changed.then_some(Answer::Changed));
        answers.extend(has_patience.then_some(Answer::OutOfPatience));
        answers
    }

    /// Lets the thread take its next step, with what belongs to it.
    fn go_on(&mut self, mut state: State, thread: usize, answer: Answer) -> Result<State, String> {
        let next = self.next(&state, thread);
        let answer = if answer == Answer::Done { self.take(&mut state, thread, next) } else { answer };
        if next == Step::Wait && answer != Answer::Handler {
            state.changed &= !(1 << thread);
        }
        state.places[thread] = self.threads[thread].after(state.places[thread], answer);
        loop {
            match self.next(&state, thread) {
                Step::Event(event) => state.happens(thread, event)?,
                // No handler can tell the difference.
                Step::Mask(_) if !self.threads[thread].places[state.places[thread]].is_open => {}
                _ => break,
            }
            state.places[thread] = self.threads[thread].after(state.places[thread], Answer::Done);
        }
        for (number, (code, place)) in self.threads.iter().zip(&state.places).enumerate() {
            state.changed &= !(u8::from(!code.places[*place].has_looked) << number);
        }
        Ok(state)
    }

    fn take(&self, state: &mut State, thread: usize, step: Step) -> Answer {
        match step {
            Step::Load(word) => Answer::Value(state.words[word].into()),
            Step::Store(word, value) => {
                state.change(word, value);
                Answer::Done
            }
            Step::Swap(word, value) => Answer::Value(state.change(word, value)),
            Step::Or(word, _) if self.flaw == Flaw::BlindFence && state.words[word] & 1 != 0 => Answer::Value(0),
            Step::Or(word, bits) => Answer::Value(state.change(word, usize::from(state.words[word]) | bits)),
            Step::Replace(word, from, to) => self.replace(state, thread, word, [from, to]),
            Step::Mask(_) | Step::Pause => Answer::Done,
            Step::Wait | Step::Event(_) | Step::End => unreachable!("{step:?} is no step on words"),
        }
    }

    fn replace(&self, state: &mut State, thread: usize, word: usize, [from, to]: [usize; 2]) -> Answer {
        let (before, this) = (usize::from(state.words[word]), self.threads[thread].this);
        // The flaws are about who holds a slot, which its first word says.
        let flaw = if word.is_multiple_of(WORDS_OF_SLOT) { self.flaw } else { Flaw::None };
        match flaw {
            Flaw::LeavesBlindly if [from, to] == [this, 0] => {
                state.change(word, to);
                return Answer::Value(from);
            }
            Flaw::NothingIsTaken if ![0, this].contains(&(from & !1)) => {}
            Flaw::HiddenWindow if to == from | 1 => {}
            _ if before == from => _ = state.change(word, to),
            _ => {}
        }
        Answer::Value(before)
    }
}

impl State {
    fn change(&mut self, word: usize, value: usize) -> usize {
        let before = usize::from(self.words[word]);
        if before != value {
            self.words[word] = u16::try_from(value).expect("numbers are small");
            self.changed = u8::MAX;
        }
        before
    }

    /// Goes on with the rules, or says which is broken.
    fn happens(&mut self, thread: usize, event: Event) -> Result<(), String> {
        match event {
            Event::Began(slot) => self.sections[thread].push(Begun { slot, is_over: false, fences: 0 }),
            Event::WindowBegan(slot) => {
                self.in_windows[slot] += 1;
                if self.in_windows[slot] > 1 {
                    return Err(format!("two windows run on slot {slot}"));
                }
            }
            Event::WindowEnded(slot, is_commit) => {
                self.in_windows[slot] -= 1;
                if is_commit {
                    self.commits(thread, slot)?;
                }
            }
            Event::Ended => {
                let ended = self.sections[thread].pop().expect("it had begun");
                let below = self.sections[thread].iter_mut().filter(|section| section.slot == ended.slot);
                below.for_each(|section| section.is_over = true);
            }
            Event::FenceCalled(name, slot) => {
                let sections = self.sections.iter_mut().flatten();
                let concerned = sections.filter(|section| slot.is_none_or(|slot| slot == section.slot));
                concerned.for_each(|section| section.fences |= 1 << name);
            }
            Event::FenceReturned(name) => {
                for section in self.sections.iter_mut().flatten().filter(|section| section.fences & 1 << name != 0) {
                    section.fences &= !(1 << name);
                    section.is_over = true;
                }
            }
            Event::Stopped(slot, is_stopped) => self.is_stopped[slot] = is_stopped,
        }
        Ok(())
    }

    fn commits(&mut self, thread: usize, slot: Slot) -> Result<(), String> {
        if self.is_stopped[slot] {
            return Err(format!("a section commits on slot {slot}, which is a drain's"));
        }
        if self.sections[thread].last().is_none_or(|section| section.is_over) {
            return Err(format!("a section that is over commits on slot {slot}"));
        }
        self.committed[slot] += 1;
        let others = self.sections.iter_mut().flatten().filter(|section| section.slot == slot);
        others.for_each(|section| section.is_over = true);
        Ok(())
    }
}
