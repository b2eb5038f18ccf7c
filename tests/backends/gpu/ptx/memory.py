"""Memory with a shadow: which bytes there are, who wrote and read each word, and what has been ordered by barriers since.

Two accesses of different threads to one word, of which one writes, are a race, unless a barrier of the block lies between them,
or they are of one warp and a barrier of the warp lies between them. Threads of different blocks are ordered by fences
only: where one block has a fence and then an atomic operation after its access, and the other one reads that same place by an
atomic operation or a volatile load and then has a fence before its own.
"""

import numpy as np

from .text import RAW

GAP = 512                                                        # bytes between allocations that belong to nobody
NOBODY = -1


class Race(RuntimeError):
    """What is wrong with an access: a sentence, and the first lane that makes it."""

    def __init__(self, what, lane):
        super().__init__(what)
        self.lane = lane


class Threads:
    """Who the lanes are, how many barriers each has passed, and what each block knows of the others.

    clock[b, c]: up to which of its fences block c's accesses lie before what block b does now.
    """

    def __init__(self, first, count, block, fenced=False):
        self.number = first + np.arange(count)
        self.of_block = block                                    # threads of a block
        self.block, self.warp = self.number // block, self.number % block // 32
        self.barriers = np.zeros((2, count), np.int64)           # of the block, of the warp
        blocks = count // block
        self.clock = np.zeros((blocks, blocks), np.int64) if fenced else None
        if fenced:
            np.fill_diagonal(self.clock, 1)
            self.heard, self.said, self.places = np.zeros_like(self.clock), np.zeros_like(self.clock), {}

    def now(self, lanes):
        """When an access is: barriers passed, and fences of the block."""
        fences = np.zeros(len(lanes), np.int64) if self.clock is None else np.diagonal(self.clock)[self.block[lanes]]
        return np.stack([*self.barriers[:, lanes], fences])

    def before(self, other, when, lanes):
        """Whether accesses by other threads at some time lie before what these lanes do now."""
        block, own = other // self.of_block, self.block[lanes]
        far = np.zeros(len(lanes), bool) if self.clock is None else self.clock[own, block] >= when[2]
        near = (when[0] < self.barriers[0, lanes]) | (
            (other % self.of_block // 32 == self.warp[lanes]) & (when[1] < self.barriers[1, lanes]))
        return np.where(block == own, near, far)

    def fence(self, lanes):
        """What these blocks have heard is theirs now, and what they have done may be told."""
        for b in np.unique(self.block[lanes]) if self.clock is not None else ():
            self.clock[b] = np.maximum(self.clock[b], self.heard[b])
            self.said[b] = self.clock[b]
            self.clock[b, b] += 1

    def tell(self, at, lane):
        """A lane changes this place by an atomic operation."""
        if self.clock is not None:
            b = self.block[lane]
            self.places[at] = np.maximum(self.places.get(at, 0), self.said[b])

    def hear(self, at, lane):
        """A lane reads this place by an atomic operation or a volatile load."""
        if self.clock is not None and at in self.places:
            b = self.block[lane]
            self.heard[b] = np.maximum(self.heard[b], self.places[at])


class Shadow:
    """For each word its last writer and its readers since then: the lowest and the highest number, and when."""

    def __init__(self, words):
        self.writer, self.changer = np.full((2, words), NOBODY)  # the changer: by an atomic operation
        self.low, self.high = np.full(words, NOBODY), np.full(words, NOBODY)
        self.wrote, self.changed, self.read_low, self.read_high = np.zeros((4, 3, words), np.int64)            # when

    def unordered(self, other, when, lanes, threads):
        """Whether an access by another thread at some time may coincide with one by these lanes now."""
        return (other != NOBODY) & (other != threads.number[lanes]) & ~threads.before(np.maximum(other, 0), when, lanes)

    def beside(self, words, lanes, threads):
        """Refuse a plain access to what another thread of the block has changed by an atomic operation."""
        bad = self.unordered(self.changer[words], self.changed[:, words], lanes, threads)
        bad &= self.changer[words] // threads.of_block == threads.block[lanes]
        if bad.any():
            raise Race("a race: it touches what another thread has changed since the last barrier", lanes[bad][0])

    def change(self, words, lanes, threads):
        """Lanes change these words by atomic operations, which come one after the other."""
        for other, times in ((self.writer, self.wrote), (self.low, self.read_low), (self.high, self.read_high)):
            bad = self.unordered(other[words], times[:, words], lanes, threads)
            bad &= other[words] // threads.of_block == threads.block[lanes]
            if bad.any():
                raise Race("a race: it changes what another thread has touched since the last barrier", lanes[bad][0])
        self.changer[words], self.changed[:, words] = threads.number[lanes], threads.now(lanes)

    def load(self, words, lanes, threads):
        """Lanes read these words."""
        self.beside(words, lanes, threads)
        bad = self.unordered(self.writer[words], self.wrote[:, words], lanes, threads)
        if bad.any():
            raise Race("a race: it reads what another thread has written since the last barrier", lanes[bad][0])
        number, now = threads.number[lanes], threads.now(lanes)
        keep = self.unordered(self.low[words], self.read_low[:, words], lanes, threads) \
            | self.unordered(self.high[words], self.read_high[:, words], lanes, threads)
        for ends, times, join, none in ((self.low, self.read_low, np.minimum, 1 << 62),
                                        (self.high, self.read_high, np.maximum, NOBODY)):
            ends[words] = np.where(keep, ends[words], none)
            join.at(ends, words, number)
            mine = ends[words] == number
            times[:, words[mine]] = now[:, mine]

    def store(self, words, lanes, threads):
        """Lanes write these words."""
        self.beside(words, lanes, threads)
        bad = self.unordered(self.writer[words], self.wrote[:, words], lanes, threads)
        if bad.any():
            raise Race("a race: it overwrites what another thread has written since the last barrier", lanes[bad][0])
        for reader, times in ((self.low, self.read_low), (self.high, self.read_high)):
            bad = self.unordered(reader[words], times[:, words], lanes, threads)
            if bad.any():
                raise Race("a race: it overwrites what another thread has read since the last barrier", lanes[bad][0])
        order = np.argsort(words, kind="stable")
        same = np.diff(words[order]) == 0
        if same.any():
            raise Race("a race: two threads write one place at once", lanes[order][1:][same][0])
        self.writer[words] = threads.number[lanes]
        self.wrote[:, words] = threads.now(lanes)
        self.low[words] = self.high[words] = NOBODY


class Space:
    """Bytes, of which those that `there` marks may be touched; `word` bytes share a shadow."""

    def __init__(self, size, word=4):
        self.bytes, self.there = np.zeros(-(-size // 8) * 8, np.uint8), np.zeros(size, np.bool_)
        self.word, self.shadow = word, Shadow(-(-size // word))

    def check(self, at, n, wide, lanes, what):
        """Bounds of n bytes, and where an access of `wide` bytes begins, its alignment."""
        if wide and (bad := at % wide != 0).any():
            raise Race(f"a misaligned {what} of {wide} bytes", lanes[bad][0])
        bad = (at < 0) | (at + n > self.there.size)
        inside = np.where(bad, 0, at)
        bad |= ~self.there[inside] | ~self.there[np.minimum(inside + n - 1, self.there.size - 1)]
        if bad.any():
            raise Race(f"a {what} out of bounds", lanes[bad][0])

    def words(self, at, n, lanes):
        """The words that accesses of n bytes touch, and the lanes, once for each."""
        per = max(1, n // self.word)
        return (at[:, None] // self.word + np.arange(per)).ravel(), np.repeat(lanes, per)

    def load(self, at, n, wide, lanes, threads, fresh=False):
        """What stands there; with `fresh`, refused where nobody has written since the launch."""
        self.check(at, n, wide, lanes, "load")
        words, who = self.words(at, n, lanes)
        if fresh and (bad := self.shadow.writer[words] == NOBODY).any():
            raise Race("it reads shared memory that nobody has written", who[bad][0])
        self.shadow.load(words, who, threads)
        return self.bytes.view(RAW[n])[at // n]

    def change(self, at, n, lanes, threads):
        """Bounds, alignment and order of atomic operations on n bytes."""
        self.check(at, n, n, lanes, "change")
        self.shadow.change(*self.words(at, n, lanes), threads)

    def store(self, at, n, wide, values, lanes, threads):
        """Put raw values of n bytes there."""
        self.check(at, n, wide, lanes, "store")
        self.shadow.store(*self.words(at, n, lanes), threads)
        self.bytes.view(RAW[n])[at // n] = values


class Arena(Space):
    """The memory of the device."""

    def __init__(self, size, word=4):
        super().__init__(size, word)
        self.top = GAP

    def put(self, a):
        """The address of a copy of an array."""
        at, size = self.top, a.nbytes
        self.top += -(-size // GAP) * GAP + GAP
        self.bytes[at:at + size] = a.reshape(-1).view(np.uint8)
        self.there[at:at + size] = True
        return at

    def get(self, at, a):
        """Bring a copy back."""
        np.copyto(a, self.bytes[at:at + a.nbytes].view(a.dtype).reshape(a.shape))
