# Sections of rseq-dsl in gdb: `help rseq`, and docs/debugging.md of the project.
#
# It is in every executable that is built with debug information, for gdb 12 and later (Python 3.9),
# which loads it where `auto-load safe-path` allows that; or by `source` of this file. gdb runs it
# in the namespace that all scripts share, which is why the names here begin with `Rseq`.
#
# Why sections need it: the kernel takes a thread that stops for a debugger for one that was
# preempted. When it goes on, the kernel sends a window to its abort handler, and takes what is in
# force outside of a window out of force. So a section that is stepped through, or has a breakpoint
# inside, starts again for ever.
#
# What it does about that: while it steps, nothing is in force, so that the kernel has nothing to
# do, and it keeps the book itself. The other threads are held from before the section arms until it
# has committed, which is more than the kernel would have to see to. Where something does interrupt
# the section (a signal's handler, a section inside of it, another CPU), it does what the kernel
# would have done.

import bisect
import os
import re
import struct

import gdb


class RseqAbi:
    """The numbers and names of the crate rseq-abi: a test compares them."""

    AREA_CPU_ID = 4
    AREA_RSEQ_CS = 8
    AREA_MM_CID = 24
    DESCRIPTOR_LENGTH = 32
    SECTION_DESCRIPTORS = "__rseq_cs"
    SECTION_EXITS = "__rseq_exit_point_array"
    SECTION_NOTES = ".note.rseq"
    NOTE_NAME = "rseq"
    NOTE_HEADER = 12
    NOTE_WINDOW = 1
    NOTE_IMAGE = 3
    NOTE_LEFT = 4
    NOTE_ABORTED = 5
    WINDOW_DESCRIPTOR = 0
    WINDOW_CHECKED = 4
    WINDOW_LINE = 8
    WINDOW_COLUMN = 12
    WINDOW_TEXTS = 16


class RseqMachine:
    """What has to be known of a machine."""

    #: The registers with the thread pointer, the upper half first, by gdb's name of the machine.
    THREAD_POINTERS = {
        "i386:x86-64": ["fs_base"],
        "aarch64": ["tpidr"],
        "riscv:rv64": ["tp"],
        "s390:64-bit": ["acr0", "acr1"],
        "powerpc:common64": ["r13"],
        "Loongarch64": ["r2"],
    }

    @staticmethod
    def word():
        """The format of a word as long as a pointer."""
        return "Q" if gdb.newest_frame().read_register("sp").type.sizeof == 8 else "I"

    @staticmethod
    def thread_pointer():
        name = gdb.selected_inferior().architecture().name()
        if name not in RseqMachine.THREAD_POINTERS:
            raise gdb.GdbError(f"of {name} it isn't known here where its thread pointer is")
        pointer, frame = 0, gdb.newest_frame()
        for register in RseqMachine.THREAD_POINTERS[name]:
            value = frame.read_register(register)
            bits = 8 * value.type.sizeof
            pointer = pointer << bits | int(value) & (1 << bits) - 1
        return pointer

    @staticmethod
    def pc():
        return gdb.newest_frame().pc()

    @staticmethod
    def set_pc(address):
        gdb.newest_frame().select()
        gdb.execute(f"set var $pc = {address:#x}", to_string=True)


class RseqMemory:
    """Memory of the program, in its order of bytes."""

    @staticmethod
    def order():
        return ">" if "big endian" in gdb.execute("show endian", to_string=True) else "<"

    @staticmethod
    def bytes(address, length):
        return bytes(gdb.selected_inferior().read_memory(address, length)) if length else b""

    @staticmethod
    def read(address, layout):
        layout = RseqMemory.order() + layout
        return struct.unpack(layout, RseqMemory.bytes(address, struct.calcsize(layout)))

    @staticmethod
    def write(address, layout, *values):
        gdb.selected_inferior().write_memory(address, struct.pack(RseqMemory.order() + layout, *values))


class RseqWindow:
    """A window: its descriptor as the kernel has it, and what its note says."""

    def __init__(self, descriptor, start, length, abort):
        self.descriptor = descriptor
        self.start, self.post, self.abort = start, start + length, abort
        self.checked = start
        self.place, self.kind, self.operation = None, "", ""

    def covers(self, address):
        return self.start <= address < self.post

    def step_at(self, address):
        return "the checks of the window" if address < self.checked else "the window"

    def is_prepared(self):
        return self.kind.startswith("prepare")

    def __str__(self):
        if self.place is None:
            return "a section without a note"
        return f"{self.place}, {self.operation}"


class RseqImage:
    """An executable or shared object with sections."""

    def __init__(self):
        self.windows = []
        #: Where the descriptors are: what is in force there is a window's own, and what is in force
        #: elsewhere is a thread's.
        self.descriptors = range(0)
        #: By the start of its window, where it may be left to: to start again first, then the
        #: exits.
        self.exits = {}
        #: The instructions from which on a section is no longer in force that is in `prepare`, and
        #: how it ends.
        self.ends = {}
        #: The words of rseq-core: what sections load first, the decision for a mode, the number of
        #: CPUs.
        self.words = None

    @staticmethod
    def all():
        """The images that are loaded, as the debugger's list of sections has them."""
        images = {}
        for line in gdb.execute("info files", to_string=True).splitlines():
            match = re.match(r"\s*(0x[0-9a-f]+) - (0x[0-9a-f]+) is (\S+)(?: in (.*))?$", line)
            if match:
                start, end, section, name = match.groups()
                image = images.setdefault(name, {})
                image[section] = range(int(start, 16), int(end, 16))
        has_any = lambda sections: RseqAbi.SECTION_DESCRIPTORS in sections or RseqAbi.SECTION_NOTES in sections
        return [RseqImage().read(sections) for sections in images.values() if has_any(sections)]

    def read(self, sections):
        self.descriptors = sections.get(RseqAbi.SECTION_DESCRIPTORS, range(0))
        words = RseqMemory.read(self.descriptors.start, f"{len(self.descriptors) // 8}Q")
        described = lambda number: words[4 * number + 1 : 4 * number + 4]
        starts = enumerate(self.descriptors[:: RseqAbi.DESCRIPTOR_LENGTH])
        windows = {at: RseqWindow(at, *described(number)) for number, at in starts}
        for note in RseqNote.all(sections.get(RseqAbi.SECTION_NOTES, range(0))):
            self.note(note, windows)
        self.windows = list(windows.values())
        exits = sections.get(RseqAbi.SECTION_EXITS, range(0))
        pairs = RseqMemory.read(exits.start, f"{len(exits) // 8}Q")
        for start, exit in zip(pairs[::2], pairs[1::2]):
            self.exits.setdefault(start, []).append(exit)
        return self

    def note(self, note, windows):
        if note.kind == RseqAbi.NOTE_WINDOW:
            window = windows.get(note.address(RseqAbi.WINDOW_DESCRIPTOR))
            if window is not None:
                file, window.kind, window.operation = note.texts(RseqAbi.WINDOW_TEXTS)
                line, column = note.number(RseqAbi.WINDOW_LINE), note.number(RseqAbi.WINDOW_COLUMN)
                window.checked, window.place = note.address(RseqAbi.WINDOW_CHECKED), RseqPlace(file, line, column)
        elif note.kind == RseqAbi.NOTE_IMAGE:
            self.words = [note.address(offset) for offset in (0, 4, 8)]
        elif note.kind in (RseqAbi.NOTE_LEFT, RseqAbi.NOTE_ABORTED):
            self.ends[note.address(0)] = "left" if note.kind == RseqAbi.NOTE_LEFT else "aborted"


class RseqNote:
    """An ELF note of ours: docs/tool-authors.md."""

    def __init__(self, kind, at, description, order):
        self.kind, self.at, self.description, self.order = kind, at, description, order

    @staticmethod
    def all(section):
        bytes, at, order = RseqMemory.bytes(section.start, len(section)), 0, RseqMemory.order()
        while at < len(bytes):
            name, length, kind = struct.unpack_from(order + "III", bytes, at)
            owner = at + RseqAbi.NOTE_HEADER
            start = owner + (name + 3 & ~3)
            if bytes[owner : owner + name] == RseqAbi.NOTE_NAME.encode() + b"\0":
                yield RseqNote(kind, section.start + start, bytes[start : start + length], order)
            at = start + (length + 3 & ~3)

    def number(self, offset, layout="I"):
        return struct.unpack_from(self.order + layout, self.description, offset)[0]

    def address(self, offset):
        """An address, which is there as the distance from where it stands."""
        return self.at + offset + self.number(offset, "i")

    def texts(self, start):
        return [text.decode(errors="replace") for text in self.description[start:].split(b"\0")[:3]]


class RseqPlace:
    """Where a section stands in the source."""

    def __init__(self, file, line, column):
        self.file, self.line, self.column = file, line, column

    def __eq__(self, other):
        return isinstance(other, RseqPlace) and str(self) == str(other)

    def __str__(self):
        return f"{self.file}:{self.line}:{self.column}"


class RseqProcess:
    """The images of a process, and what they have decided."""

    #: As rseq-core/src/mode.rs encodes them.
    REASONS = {
        3: "forced by portable::force or RSEQ_MODE=portable",
        4: "not in this build",
        5: "the kernel has no rseq system call",
        6: "another library registered its own area",
        7: "this kernel doesn't restart sections",
        9: "this shared object can't reach the areas of threads",
    }

    def __init__(self):
        self.images = RseqImage.all()
        windows = (window for image in self.images for window in image.windows)
        self.windows = sorted(windows, key=lambda window: window.start)
        self.starts = [window.start for window in self.windows]

    def window_at(self, address):
        before = bisect.bisect_right(self.starts, address)
        window = self.windows[before - 1] if before else None
        return window if window is not None and window.covers(address) else None

    def window_of(self, descriptor):
        return next((window for window in self.windows if window.descriptor == descriptor), None)

    def has_descriptor(self, address):
        return any(address in image.descriptors for image in self.images)

    def is_over(self, address):
        """A section is here that has committed, or was left or aborted, and takes itself out of
        force next."""
        return any(address in (window.post, window.abort, *self.exits(window)) for window in self.windows)

    def end_at(self, address):
        return next((image.ends[address] for image in self.images if address in image.ends), None)

    def exits(self, window):
        return [exit for image in self.images for exit in image.exits.get(window.start, [])]

    def fast(self):
        """Of an image that has decided for restartable sequences: the distances from the thread
        pointer to a thread's block, and from there to its area."""
        word = RseqMachine.word()
        for image in self.images:
            if image.words:
                area, cpus, _, block = RseqMemory.read(image.words[0], f"{word.lower()}{word}{word}{word.lower()}")
                if cpus > 0:
                    return block, area
        return None

    def mode(self):
        """What was decided, in words, and whether sections are restartable."""
        for image in self.images:
            if image.words:
                (code,) = RseqMemory.read(image.words[1], "I")
                if code & 0xFF in (1, 2):
                    return "registered by " + ("libc" if code == 1 else "rseq-core"), True
                if code:
                    reason = self.REASONS.get(code & 0xFF, f"the kernel refused the registration with errno {code >> 8}")
                    return f"portable mode ({reason})", False
        return "no section has run yet", True

    def cpus(self):
        """The number of CPU ids that have a slot; 0 as long as nobody asked."""
        word = RseqMachine.word()
        return max((RseqMemory.read(image.words[2], word)[0] for image in self.images if image.words), default=0)


class RseqThread:
    """The area of the selected thread."""

    def __init__(self, area):
        self.area = area

    @staticmethod
    def of(process):
        """The selected thread's area, `None` as long as no image has decided for one."""
        fast = process.fast()
        return None if fast is None else RseqThread(RseqMachine.thread_pointer() + sum(fast))

    def cpu(self):
        """The number of the CPU, `None` if the thread isn't registered."""
        (cpu,) = RseqMemory.read(self.area + RseqAbi.AREA_CPU_ID, "i")
        return cpu if cpu >= 0 else None

    def mm_cid(self):
        return RseqMemory.read(self.area + RseqAbi.AREA_MM_CID, "i")[0]

    def in_force(self):
        """The address of the descriptor in force, 0 for none."""
        return RseqMemory.read(self.area + RseqAbi.AREA_RSEQ_CS, "Q")[0]

    def set_in_force(self, descriptor):
        RseqMemory.write(self.area + RseqAbi.AREA_RSEQ_CS, "Q", descriptor)


class RseqFunctions:
    """Which functions addresses are in, of those that have code of their own."""

    @staticmethod
    def at(address):
        block = gdb.block_for_pc(address)
        if block is not None and block.superblock is not None:
            while block.superblock is not None and not block.superblock.is_static:
                block = block.superblock
            return block.start
        match = re.match(r"(.*?)(?: \+ \d+)? in section ", gdb.execute(f"info symbol {address:#x}", to_string=True))
        return match.group(1) if match else None

    @staticmethod
    def windows_around(process):
        """The windows of the section that the selected thread is preparing: of the newest of its
        functions that has sections with `prepare`, those nearest above its line."""
        functions = {}
        for window in process.windows:
            if window.is_prepared():
                functions.setdefault(RseqFunctions.at(window.start), []).append(window)
        frame = gdb.newest_frame()
        while frame is not None:
            windows = functions.get(RseqFunctions.at(frame.pc()))
            if windows:
                return RseqFunctions.nearest(frame, windows)
            frame = frame.older()
        return []

    @staticmethod
    def nearest(frame, windows):
        function = RseqFunctions.at(frame.pc())
        while frame is not None and RseqFunctions.at(frame.pc()) == function:
            sal = frame.find_sal()
            if sal.symtab is not None:
                is_above = lambda place: sal.symtab.filename.endswith(place.file) and place.line <= sal.line
                above = [window for window in windows if is_above(window.place)]
                if above:
                    line = max(window.place.line for window in above)
                    return [window for window in above if window.place.line == line]
            frame = frame.older()
        return windows

    @staticmethod
    def preparing(process):
        """The section that the selected thread is preparing, in words, and whether it goes by
        concurrency ids."""
        windows = RseqFunctions.windows_around(process)
        names = {str(window) for window in windows}
        name = names.pop() if len(names) == 1 else "a section"
        return name, any("mm_cid" in window.kind for window in windows)


class RseqHistory:
    """What the debugger itself did: whether a section that is in force has been the only thing that
    ran since it armed. What the kernel says isn't enough, because it speaks when a thread goes on:
    one that stopped for the debugger looks as if nothing had happened to it, while others ran on
    its CPU."""

    def __init__(self):
        #: The thread that was alone: it was stepped last, or there is no other.
        self.alone = None
        #: What interrupted the sections of others.
        self.interruption = "other threads may have run since"
        #: Whether it is this script that lets the program run.
        self.steps = False
        #: Whether others ran when it was something else.
        self.others_ran = True
        #: The last stop.
        self.event = None
        #: What was in force before a function was called from the debugger.
        self.before_call = None
        gdb.events.cont.connect(self.on_cont)
        gdb.events.stop.connect(self.on_stop)
        gdb.events.exited.connect(self.on_exit)
        gdb.events.inferior_call.connect(self.on_call)

    def interrupt(self, interruption, alone=None):
        """Whatever section is in force was interrupted by this, but for that of a thread that was
        alone."""
        self.alone, self.interruption = alone, interruption

    def is_alone(self):
        return self.alone is not None and self.alone == self.thread()

    @staticmethod
    def thread():
        thread = gdb.selected_thread()
        return thread.ptid if thread is not None else None

    def on_cont(self, _event):
        if not self.steps:
            self.interrupt("other threads may have run since")
            self.others_ran = not self.is_single()

    def on_stop(self, event):
        self.event = event
        if not self.steps and not self.others_ran and self.is_single():
            self.alone = self.thread()

    def on_exit(self, _event):
        self.alone = None

    @staticmethod
    def is_single():
        return gdb.parameter("scheduler-locking") == "on" or len(gdb.selected_inferior().threads()) == 1

    def on_call(self, event):
        """A function that is called from the debugger runs sections of its own, or has the kernel
        take the thread's out of force: one whose window was interrupted for it would go on
        unprotected. So what was in force is again, for the kernel to see that."""
        if isinstance(event, gdb.InferiorCallPreEvent):
            self.before_call = None
            thread = RseqThread.of(RseqProcess())
            if thread is not None and thread.in_force():
                descriptor = thread.in_force()
                self.before_call = thread, descriptor, RseqMemory.bytes(descriptor, RseqAbi.DESCRIPTOR_LENGTH)
        elif self.before_call is not None:
            thread, descriptor, words = self.before_call
            self.before_call = None
            if RseqMemory.bytes(descriptor, RseqAbi.DESCRIPTOR_LENGTH) != words:
                gdb.selected_inferior().write_memory(descriptor, words)
            thread.set_in_force(descriptor)
            self.interrupt("a function was called from the debugger")


class RseqSignals:
    """The signals that the program is given, with what gdb's user wants of them. While a section is
    held gdb stops for each: a handler that ran between two steps would go unnoticed, and so would
    its sections."""

    def __init__(self):
        lines = gdb.execute("info signals", to_string=True).splitlines()
        fields = [line.split(maxsplit=4) for line in lines if line.startswith("SIG")]
        self.passed = {name: (stop, shown) for name, stop, shown, passed, *_ in fields if passed == "Yes"}

    def __contains__(self, name):
        return name in self.passed

    def stop(self):
        self.handle("stop", [name for name, (stop, _) in self.passed.items() if stop == "No"])

    def restore(self):
        for shown in ("Yes", "No"):
            names = [name for name, wanted in self.passed.items() if wanted == ("No", shown)]
            self.handle("nostop print" if shown == "Yes" else "nostop noprint", names)

    @staticmethod
    def handle(how, names):
        if names:
            gdb.execute(f"handle {' '.join(names)} {how}", to_string=True)


class RseqStop(Exception):
    """The program stopped, or ended, for another reason than a step."""


class RseqStepper:
    """Runs the selected thread by instructions, with the other threads held, and keeps the book of
    the section that is open."""

    #: So many instructions are looked for the place where a section was, after it started again.
    MOST_INSTRUCTIONS = 1_000_000

    def __init__(self, history):
        self.history = history
        self.process = RseqProcess()
        text, restartable = self.process.mode()
        if not restartable:
            raise gdb.GdbError(f"{text}: no section is restartable, and none has to be held; use gdb's own commands")
        if gdb.parameter("non-stop"):
            raise gdb.GdbError("in non-stop mode the other threads can't be held")
        if self.connection() == "core":
            raise gdb.GdbError("this is a core file")
        self.thread = RseqThread.of(self.process)
        #: The descriptor that is in force in the book; 0 for none.
        self.held = 0
        self.name, self.by_mm_cid, self.index = "", False, None
        #: How the section that was open ended last: see `end`.
        self.ended = None
        #: What has interrupted the section that is in force: it has to start again.
        self.interruption = None
        self.signals = RseqSignals()
        self.allowed = None

    def __enter__(self):
        self.settings = self.set({"scheduler-locking": "on", "suppress-cli-notifications": "on"})
        self.history.steps = True
        if self.thread is not None and self.thread.in_force() and not self.process.is_over(RseqMachine.pc()):
            self.hold(self.thread.in_force())
        if self.held and not self.history.is_alone():
            self.interruption = self.history.interruption
        return self

    def __exit__(self, *_exception):
        self.history.steps = False
        self.set(self.settings)
        self.let_go()
        if gdb.selected_thread() is None:
            return
        if self.held:
            self.thread.set_in_force(self.held)
        if self.interruption:
            self.history.interrupt(self.interruption)
        else:
            self.history.interrupt("another thread was stepped since", alone=self.history.thread())

    @staticmethod
    def set(settings):
        """Sets these, as far as gdb has them (the second came with gdb 13) and there is a program;
        returns what they were."""
        before = {}
        for name, value in settings.items():
            try:
                known = gdb.parameter(name)
                gdb.execute(f"set {name} {value}", to_string=True)
                before[name] = {True: "on", False: "off"}.get(known, known)
            except (RuntimeError, gdb.error):
                pass
        return before

    def hold(self, descriptor):
        """A section is open: a window's own descriptor is in force and covers the instruction, or a
        thread's."""
        window = self.process.window_of(descriptor)
        if self.process.has_descriptor(descriptor):
            if window is None or not window.covers(RseqMachine.pc()):
                return
            self.name, self.by_mm_cid = str(window), "mm_cid" in window.kind
        elif self.thread.cpu() is None:
            return
        else:
            window = self.process.window_at(RseqMachine.pc())
            known = (str(window), "mm_cid" in window.kind) if window else None
            self.name, self.by_mm_cid = known or RseqFunctions.preparing(self.process)
        self.held = descriptor
        self.index = self.current_index()
        self.thread.set_in_force(0)
        self.pin()
        self.signals.stop()

    def let_go(self):
        """Nothing is held any more."""
        self.unpin()
        self.signals.restore()

    @staticmethod
    def connection():
        connection = gdb.selected_inferior().connection
        return connection.type if connection is not None else None

    def current_index(self):
        return self.thread.mm_cid() if self.by_mm_cid else self.thread.cpu()

    def pin(self):
        """Keeps the thread where it is, lest the scheduler move it between two steps. Where it
        can't stay, it starts again."""
        cpu, thread = self.thread.cpu(), gdb.selected_thread().ptid[1]
        if self.connection() != "native":
            return
        try:
            allowed = os.sched_getaffinity(thread)
            if cpu in allowed:
                os.sched_setaffinity(thread, {cpu})
                self.allowed = self.allowed or (thread, allowed)
        except OSError:
            pass

    def unpin(self):
        if self.allowed is not None:
            try:
                os.sched_setaffinity(*self.allowed)
            except OSError:
                pass
            self.allowed = None

    def end(self, how, outcome):
        """The section is over, for now or for good: `committed`, `left`, or `aborted`."""
        self.held, self.ended, self.interruption = 0, how, None
        self.let_go()
        print(f"{self.name}: {outcome}")

    def abort(self, why):
        """What the kernel does to a section that is interrupted."""
        window = self.process.window_at(RseqMachine.pc())
        if window is not None:
            self.name = str(window)
            RseqMachine.set_pc(window.abort)
        self.thread.set_in_force(0)
        self.end("aborted", f"starts again: {why}")

    def instruction(self):
        """One instruction; a window's checks, which would find nothing in force, are one as
        well."""
        self.ended = self.history.event = None
        before = RseqMachine.pc()
        window = self.process.window_at(before)
        if self.held and window is not None and window.is_prepared() and before == window.start:
            RseqMachine.set_pc(window.checked)
            return
        if self.held and self.process.end_at(before):
            self.end_in_prepare(self.process.end_at(before))
        self.resume()
        if self.thread is None:
            self.thread = RseqThread.of(self.process)
        if self.thread is not None:
            self.look(window)
        if self.held:
            self.look_for_signal()

    def resume(self):
        gdb.execute("stepi", to_string=True)
        if gdb.selected_thread() is None:
            raise RseqStop()

    def look(self, window):
        """What the instruction did to the section; it was one of this window, if of any."""
        descriptor = self.thread.in_force()
        if descriptor:
            if self.held:
                self.end("aborted", "starts again: another section ran inside of it")
            self.hold(descriptor)
        elif self.held and window is not None and not window.covers(RseqMachine.pc()):
            self.leave(window)
        elif self.held and self.current_index() != self.index:
            what = "concurrency id" if self.by_mm_cid else "CPU"
            self.abort(f"it was moved from {what} {self.index} to {self.current_index()}")

    def leave(self, window):
        self.name = str(window)
        pc, exits = RseqMachine.pc(), self.process.exits(window)
        if pc == window.post:
            self.end("committed", "committed")
        elif pc in (window.abort, *exits[:1]):
            self.end("aborted", "starts again: it has no slot yet, or isn't registered")
        else:
            self.end("left", "left its window by an exit")

    def end_in_prepare(self, how):
        self.end(how, "left from prepare" if how == "left" else "starts again: something had to be made ready first")

    def look_for_signal(self):
        """A signal that is about to be delivered interrupts the section. It stays where that was,
        for people to look at, and in force, for the kernel to see to it."""
        event = self.history.event
        if isinstance(event, gdb.SignalEvent) and event.stop_signal in self.signals:
            print(f"{self.name}: {event.stop_signal} interrupts it, so it is going to start again")
            self.interruption = f"{event.stop_signal} interrupted it"

    def step(self):
        """An instruction; raises `RseqStop` if the program stopped for a reason of its own."""
        self.instruction()
        if isinstance(self.history.event, (gdb.BreakpointEvent, gdb.SignalEvent)):
            raise RseqStop()

    def begin_again(self):
        """The section was interrupted, or others may have been on its CPU. So it starts again, up
        to where it was, or to the start of the window that it was in; now with them held."""
        place, window = RseqMachine.pc(), self.process.window_at(RseqMachine.pc())
        self.abort(f"{self.interruption}; from now on the others are held")
        for _ in range(self.MOST_INSTRUCTIONS):
            self.instruction()
            if self.held and self.is_back(place, window):
                return
            if isinstance(self.history.event, (gdb.BreakpointEvent, gdb.SignalEvent)):
                break
        raise RseqStop()

    def is_back(self, place, window):
        if window is None:
            return RseqMachine.pc() == place
        now = self.process.window_at(RseqMachine.pc())
        return now is not None and RseqMachine.pc() == now.start and now.place == window.place

    def make_exact(self):
        """Whether the thread is still where it was: a section that had to begin again in its window
        is at the start of that."""
        if self.interruption is None:
            return True
        self.begin_again()
        return self.process.window_at(RseqMachine.pc()) is None


class RseqLines:
    """Steps by lines of the source, as gdb's own commands go by them: out of functions and over
    them, or into them."""

    def __init__(self, stepper, into):
        self.stepper, self.into = stepper, into
        frame = gdb.newest_frame()
        #: The line is `None` where none is known, as in a window's stubs: then it goes on to where
        #: one is.
        self.function, self.depth, self.line = self.real(frame), self.inlined(frame), self.line_of(frame)

    @staticmethod
    def real(frame):
        while frame.type() == gdb.INLINE_FRAME:
            frame = frame.older()
        return frame

    @staticmethod
    def inlined(frame):
        depth = 0
        while frame.type() == gdb.INLINE_FRAME:
            frame, depth = frame.older(), depth + 1
        return depth

    @staticmethod
    def line_of(frame):
        sal = frame.find_sal()
        return (sal.symtab.filename, sal.line) if sal.symtab is not None and sal.line else None

    def run(self):
        """Until there is another line; a window is one, and so is what happens at the end of a
        section."""
        while True:
            self.stepper.step()
            if self.stepper.ended or self.is_at_start():
                return
            frame = self.entered()
            if frame is not None:
                self.go_back_to(frame)
            elif self.is_other_line():
                return

    def is_at_start(self):
        window = self.stepper.process.window_at(RseqMachine.pc())
        return self.stepper.held and window is not None and RseqMachine.pc() == window.start and window.is_prepared()

    def entered(self):
        """The frame to which a function returns that was just called and isn't to be stepped
        through."""
        frame = self.real(gdb.newest_frame())
        if frame == self.function:
            return None
        caller = frame.older()
        called = caller is not None and self.real(caller) == self.function
        if not called:
            self.function, self.depth = frame, self.inlined(gdb.newest_frame())
            return None
        return None if self.into and self.line_of(frame) is not None else self.real(caller)

    def go_back_to(self, frame):
        pc = frame.pc()
        while not (RseqMachine.pc() == pc and self.real(gdb.newest_frame()) == frame):
            self.stepper.step()

    def is_other_line(self):
        pc = RseqMachine.pc()
        sal = gdb.find_pc_line(pc)
        if sal.symtab is None or sal.pc != pc:
            return False
        frame = gdb.newest_frame()
        line = self.line_of(frame)
        deeper = not self.into and self.inlined(frame) > self.depth
        return line is not None and line != self.line and not deeper


class RseqCommand(gdb.Command):
    """Sections of restartable sequences (rseq-dsl): where they are, and how to step through
    them."""

    def __init__(self, name, history=None):
        super().__init__(name, gdb.COMMAND_RUNNING, prefix=history is None)
        self.history = history

    def invoke(self, _argument, _from_tty):
        gdb.execute("help rseq")

    @staticmethod
    def need_thread():
        if gdb.selected_thread() is None:
            raise gdb.GdbError("the program isn't being run")
        gdb.newest_frame().select()

    def times(self, argument):
        return int(gdb.parse_and_eval(argument)) if argument else 1

    def go(self, run, by_instruction=False, from_anywhere=False):
        """Steps, and shows where that led to. A step that begins where nobody has looked yet isn't
        taken."""
        self.need_thread()
        with RseqStepper(self.history) as stepper:
            try:
                if stepper.make_exact() or from_anywhere:
                    run(stepper)
            except RseqStop:
                pass
        if gdb.selected_thread() is not None:
            self.show(stepper, by_instruction)

    @staticmethod
    def show(stepper, by_instruction):
        """Where the thread is: by its line, or, in a window, which has none of its own, by its
        instruction."""
        pc = RseqMachine.pc()
        window = stepper.process.window_at(pc)
        if window is not None:
            print(f"{window}: {window.step_at(pc)}")
        in_window = window is not None or stepper.ended == "committed"
        gdb.execute("x/i $pc" if by_instruction or in_window else "frame")


class RseqSections(RseqCommand):
    """The sections of the program: where their windows are, where they stand in the source, and
    what they commit. Usage: rseq sections [TEXT] With TEXT, those in whose line it occurs."""

    def invoke(self, argument, _from_tty):
        lines = [self.line(window) for window in RseqProcess().windows]
        lines = [line for line in lines if argument in line]
        for line in lines:
            print(line)
        print(f"{len(lines)} windows")

    @staticmethod
    def line(window):
        addresses = f"{window.start:#018x}-{window.post:#018x}" if window.start else "(not relocated yet)".center(37)
        return f"{addresses}  {window.kind:<16}  {window}"


class RseqWhere(RseqCommand):
    """Whether the selected thread is in a section, and at which step.
Usage: rseq where"""

    def invoke(self, _argument, _from_tty):
        self.need_thread()
        process = RseqProcess()
        thread = RseqThread.of(process)
        print(self.about_thread(process, thread))
        for line in self.about_section(process, thread):
            print(line)

    @staticmethod
    def about_thread(process, thread):
        mode, restartable = process.mode()
        text = f"thread {gdb.selected_thread().num}: {mode}"
        if thread is None or not restartable:
            return text
        if thread.cpu() is None:
            return f"{text}; this thread isn't registered, its area is at {thread.area:#x}"
        return f"{text}; on CPU {thread.cpu()}, its area is at {thread.area:#x}"

    @staticmethod
    def about_section(process, thread):
        pc = RseqMachine.pc()
        for window in process.windows:
            if pc == window.post:
                return [f"section {window}", "step: disarm (it has committed)"]
            if pc == window.abort:
                return [f"section {window}", "step: abort handler (it starts again)"]
        window = process.window_at(pc)
        descriptor = thread.in_force() if thread is not None else 0
        if window is None and (not descriptor or process.has_descriptor(descriptor)):
            return ["in no section that is in force "
                    "(one that was interrupted starts again when it comes to its window)"]
        section = str(window) if window is not None else RseqFunctions.preparing(process)[0]
        step = window.step_at(pc) if window is not None else "prepare"
        in_force = f"in force: {descriptor:#x}" if descriptor else "nothing is in force"
        return [f"section {section}", f"step: {step} ({in_force})"]


class RseqStepi(RseqCommand):
    """Step one instruction (or N, or to the end of the section), with the other threads and the
    section that is open held. The checks at the start of a window count as one instruction. Usage:
    rseq stepi [N]"""

    def invoke(self, argument, _from_tty):
        def run(stepper):
            for _ in range(self.times(argument)):
                stepper.step()
                if stepper.ended:
                    break

        self.go(run, by_instruction=True)


class RseqStep(RseqCommand):
    """Step to another line, with the other threads and the section that is open held. A window is
    one line. Usage: rseq step [N]"""

    INTO = True

    def invoke(self, argument, _from_tty):
        def run(stepper):
            for _ in range(self.times(argument)):
                RseqLines(stepper, self.INTO).run()
                if stepper.ended:
                    break

        self.go(run)


class RseqNext(RseqStep):
    """Step to another line, over functions, with the other threads and the section that is open
    held. A window is one line. Usage: rseq next [N]"""

    INTO = False


class RseqFinish(RseqCommand):
    """Go on to the end of the section (the next, if none is open), with the other threads held,
    through as many attempts as it takes. Usage: rseq finish"""

    def invoke(self, _argument, _from_tty):
        def run(stepper):
            while stepper.ended not in ("committed", "left"):
                stepper.step()

        self.go(run, from_anywhere=True)


class RseqAbort(RseqCommand):
    """Interrupt the section that is open, as the kernel would: a window goes to its abort handler,
    and `prepare` to a window that will not go through. Usage: rseq abort"""

    def invoke(self, _argument, _from_tty):
        self.need_thread()
        with RseqStepper(self.history) as stepper:
            if not stepper.held:
                raise gdb.GdbError("no section is in force")
            stepper.abort("aborted by hand")


def rseq_register():
    """Once, however many images bring this script along."""
    if hasattr(gdb, "rseq_history"):
        return
    gdb.rseq_history = RseqHistory()
    RseqCommand("rseq")
    for command in (RseqSections, RseqWhere, RseqStepi, RseqStep, RseqNext, RseqFinish, RseqAbort):
        command("rseq " + command.__name__[len("Rseq"):].lower(), gdb.rseq_history)


rseq_register()
