# The types of rseq-dsl as gdb's `print` shows them: by CPU, as far as anything is there. The number
# of CPUs is known to rseq.py beside it.

import re

import gdb
import gdb.printing


class RseqValues:
    """How values lie in memory."""

    #: The distance between small slots: rseq-core/src/percpu/arena.rs.
    UNIT = 64 << 10

    @staticmethod
    def leaf(value):
        """What an atomic, or any other wrapper, is around."""
        while value.type.strip_typedefs().code == gdb.TYPE_CODE_STRUCT:
            value = value[next(field for field in value.type.fields() if field.type.sizeof > 0)]
        return value

    @staticmethod
    def plain(value):
        return RseqValues.leaf(value) if str(value.type).startswith("core::sync::atomic::") else value

    @staticmethod
    def slots(per_cpu):
        """The name and the value of each slot; none as long as nobody used them."""
        kind = per_cpu.type.template_argument(0)
        stride = RseqValues.UNIT if kind.sizeof <= RseqValues.UNIT else 1 << (kind.sizeof - 1).bit_length()
        first = RseqValues.leaf(per_cpu["first"])
        cpus = RseqProcess().cpus() if int(first) != 0 else 0
        for index in range(cpus + 1 if cpus else 0):
            name = f"[{index}]" if index < cpus else "[shared]"
            yield name, RseqValues.at(int(first) + index * stride, kind)

    @staticmethod
    def at(address, kind):
        return gdb.Value(address).cast(kind.pointer()).dereference()

    @staticmethod
    def number(kind):
        """The last argument of a type, which is a number."""
        return int(re.search(r"(\d+)>$", str(kind)).group(1))

    @staticmethod
    def item(cells, at, kind):
        """An item: it is at the start of its cell."""
        cell = cells.type.sizeof // RseqValues.number(cells.type)
        return RseqValues.at(int(cells.address) + at * cell, kind)


class RseqPerCpuPrinter:
    def __init__(self, value):
        self.slots = list(RseqValues.slots(value))

    def to_string(self):
        return "PerCpu" if self.slots else "PerCpu, not used yet"

    def children(self):
        return ((name, RseqValues.plain(slot)) for name, slot in self.slots)


class RseqCounterPrinter:
    def __init__(self, value):
        self.parts = [(name, RseqValues.leaf(part)) for name, part in RseqValues.slots(value["parts"])]
        self.taken = int(RseqValues.leaf(value["taken"]))

    def to_string(self):
        return f"Counter({(sum(int(part) for _, part in self.parts) - self.taken) % (1 << 64)})"

    def children(self):
        return ((name, part) for name, part in self.parts if int(part) != 0)


class RseqHistogramPrinter:
    """Of what its buckets have: rseq's src/histogram."""

    OCTAVES = 65

    def __init__(self, value):
        self.parts = RseqValues.number(value.type)
        count = self.OCTAVES * self.parts
        slots = (RseqMemory.read(int(grid.address), f"{count}Q") for _, grid in RseqValues.slots(value["parts"]))
        self.counts = [sum(counts) % (1 << 64) for counts in zip(*slots)]

    def bucket(self, index):
        octave = max(index // self.parts - 1, 0)
        first = index - octave * self.parts << octave
        last = first + (1 << octave) - 1
        return f"[{first}]" if first == last else f"[{first}..={last}]"

    def to_string(self):
        return f"Histogram of {sum(self.counts)} values"

    def children(self):
        return ((self.bucket(index), count) for index, count in enumerate(self.counts) if count)


class RseqStackPrinter:
    """The items of each CPU, the latest last. A number of items with the highest bit says that
    another thread is taking them away: rseq-core/src/drain.rs."""

    def __init__(self, value):
        self.type = value.type.template_argument(0)
        self.shelves = list(RseqValues.slots(value["shelves"]))

    @staticmethod
    def len(shelf):
        len = RseqValues.leaf(shelf["len"])
        return int(len) & (1 << len.type.sizeof * 4) - 1

    def count(self):
        return sum(self.len(shelf) for _, shelf in self.shelves)

    def to_string(self):
        return f"Stack of {self.count()} items"

    def children(self):
        for name, shelf in self.shelves:
            for at in range(self.len(shelf)):
                yield f"{name}[{at}]", RseqValues.plain(RseqValues.item(shelf["items"], at, self.type))


class RseqPoolPrinter(RseqStackPrinter):
    """The objects that aren't in use: what boxes on a stack lead to."""

    def __init__(self, value):
        super().__init__(value["idle"])

    def to_string(self):
        return f"Pool of {self.count()} idle objects"

    def children(self):
        return ((name, box.dereference()) for name, box in super().children())


class RseqRingPrinter:
    """The items of each CPU, the earliest first."""

    def __init__(self, value):
        self.type = value.type.template_argument(0)
        self.most = RseqValues.number(value.type)
        self.tracks = list(RseqValues.slots(value["tracks"]))

    def places(self, track):
        head, tail = (RseqValues.leaf(track[end]) for end in ("head", "tail"))
        count = int(tail) - int(head) & (1 << 8 * head.type.sizeof) - 1
        return [(int(head) + number) % self.most for number in range(count)]

    def to_string(self):
        return f"Ring of {sum(len(self.places(track)) for _, track in self.tracks)} items"

    def children(self):
        for name, track in self.tracks:
            for number, at in enumerate(self.places(track)):
                yield f"{name}[{number}]", RseqValues.plain(RseqValues.item(track["items"], at, self.type))


def rseq_printers():
    printers = gdb.printing.RegexpCollectionPrettyPrinter("rseq-dsl")
    printers.add_printer("PerCpu", "^rseq_core::percpu::PerCpu<", RseqPerCpuPrinter)
    printers.add_printer("Counter", "^rseq::counter::Counter$", RseqCounterPrinter)
    printers.add_printer("Histogram", "^rseq::histogram::Histogram<", RseqHistogramPrinter)
    printers.add_printer("Stack", "^rseq::stack::Stack<", RseqStackPrinter)
    printers.add_printer("Pool", "^rseq::pool::Pool<", RseqPoolPrinter)
    printers.add_printer("Ring", "^rseq::ring::Ring<", RseqRingPrinter)
    return printers


gdb.printing.register_pretty_printer(gdb.current_objfile(), rseq_printers(), replace=True)
