"""Memory with a shadow: which bytes there are, who wrote and read each word, and what has been ordered by barriers since.

Two accesses of different threads to one word, of which one writes, are a race, unless a barrier of the block lies between them,
or they are of one warp and a barrier of the warp lies between them. Nothing orders threads of different blocks.
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
    """Who the lanes are, and how many barriers each has passed."""

    def __init__(self, first, count, block):
        self.number = first + np.arange(count)
        self.of_block = block                                    # threads of a block
        self.block, self.warp = self.number // block, self.number % block // 32
        self.block_barriers, self.warp_barriers = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def elsewhere(self, other, lanes):
        """Whether thread numbers are of another block; of another warp."""
        block = other // self.of_block != self.block[lanes]
        return block, block | (other % self.of_block // 32 != self.warp[lanes])


class Shadow:
    """For each word its last writer and its readers since then: the lowest and the highest number, and when."""

    def __init__(self, words):
        self.writer = np.full(words, NOBODY)
        self.low, self.high = np.full(words, NOBODY), np.full(words, NOBODY)
        self.wrote, self.read = np.zeros((2, words), np.int64), np.zeros((2, words), np.int64)   # barriers: block's, warp's

    def unordered(self, other, when, lanes, threads):
        """Whether an access by another thread at some time may coincide with one by these lanes now."""
        block, warp = threads.elsewhere(other, lanes)
        since_block = when[0] < threads.block_barriers[lanes]
        since_warp = when[1] < threads.warp_barriers[lanes]
        return (other != NOBODY) & (other != threads.number[lanes]) & (block | (~since_block & (warp | ~since_warp)))

    def load(self, words, lanes, threads):
        """Lanes read these words."""
        bad = self.unordered(self.writer[words], self.wrote[:, words], lanes, threads)
        if bad.any():
            raise Race("a race: it reads what another thread has written since the last barrier", lanes[bad][0])
        number = threads.number[lanes]
        old = (self.low[words] != NOBODY) & (self.unordered(self.low[words], self.read[:, words], lanes, threads)
                                             | self.unordered(self.high[words], self.read[:, words], lanes, threads))
        low, high = np.where(old, self.low[words], number), np.where(old, self.high[words], number)
        self.low[words], self.high[words] = low, high            # then the readers of this very instruction are joined
        np.minimum.at(self.low, words, np.minimum(low, number))
        np.maximum.at(self.high, words, np.maximum(high, number))
        self.read[:, words] = threads.block_barriers[lanes], threads.warp_barriers[lanes]

    def store(self, words, lanes, threads):
        """Lanes write these words."""
        bad = self.unordered(self.writer[words], self.wrote[:, words], lanes, threads)
        if bad.any():
            raise Race("a race: it overwrites what another thread has written since the last barrier", lanes[bad][0])
        for reader in (self.low, self.high):
            bad = self.unordered(reader[words], self.read[:, words], lanes, threads)
            if bad.any():
                raise Race("a race: it overwrites what another thread has read since the last barrier", lanes[bad][0])
        order = np.argsort(words, kind="stable")
        same = np.diff(words[order]) == 0
        if same.any():
            raise Race("a race: two threads write one place at once", lanes[order][1:][same][0])
        self.writer[words] = threads.number[lanes]
        self.wrote[:, words] = threads.block_barriers[lanes], threads.warp_barriers[lanes]
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
