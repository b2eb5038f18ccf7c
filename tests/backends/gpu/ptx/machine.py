"""Runs PTX: one element of an array for each thread, all threads of some blocks in step, those behind first."""

import numpy as np

from .arithmetic import Unknown, carried, compared, compute, converted
from .flow import unset
from .known import unknown
from .memory import Race, Space, Threads
from .operands import ADDRESS, immediate, names, parameter, seen_as
from .text import RAW, SIZES, TYPES, total

SHARED, LOCAL, CONSTANT = 1 << 40, 1 << 41, 1 << 42              # where these spaces begin, as addresses
AT_ONCE = 1 << 16                                                # threads
LAST = 1 << 60                                                   # behind every instruction
ATOMIC = {"add": lambda x, y: x + y, "min": min, "max": max, "exch": lambda x, y: y, "and": lambda x, y: x & y,
          "or": lambda x, y: x | y, "xor": lambda x, y: x ^ y, "cas": lambda x, is_, y: y if x == is_ else x}


class Fault(RuntimeError):
    """What a kernel does wrong, with its instruction, the line of CUDA C++, the block and the thread."""


class Machine:
    """One launch."""

    def __init__(self, kernel, arena, grid, block, parameters, dynamic=0, cooperative=False):
        for what in (*(f"the interpreter does not know `{x}`" for x in unknown(kernel)), *unset(kernel)):
            raise Fault(f"{kernel.name}: {what}")
        self.kernel, self.arena, self.parameters, self.dynamic, self.cooperative = kernel, arena, parameters, dynamic, cooperative
        self.grid, self.block = (*grid, 1, 1)[:3], (*block, 1, 1)[:3]
        self.steps, self.threads = 0, self.block[0] * self.block[1] * self.block[2]
        blocks = self.grid[0] * self.grid[1] * self.grid[2]
        each = blocks if cooperative or kernel.fenced else max(1, AT_ONCE // self.threads)
        for first in range(0, blocks, each):
            self.begin(first, min(each, blocks - first))
            with np.errstate(all="ignore"):
                self.run()

    def begin(self, first, blocks):
        """The state before the first instruction of some blocks."""
        n = self.count = blocks * self.threads
        self.who = Threads(first * self.threads, n, self.threads, self.cooperative or self.kernel.fenced)
        self.every, self.values, self.passed = np.arange(n), {}, {}
        self.at, self.done, self.waits = np.zeros(n, np.int64), np.zeros(n, bool), np.zeros(n, bool)
        thread, block = self.every % self.threads, first + self.every // self.threads
        self.warps = np.nonzero(thread % 32 == 0)[0]             # their first lanes; when each has run last
        self.turn = np.zeros(self.warps.size, np.int64)
        self.special = {"%laneid": thread % 32}
        for k, c in enumerate("xyz"):
            inner, outer = int(np.prod(self.block[:k])), int(np.prod(self.grid[:k]))
            self.special |= {f"%tid.{c}": thread // inner % self.block[k], f"%ctaid.{c}": block // outer % self.grid[k],
                             f"%ntid.{c}": np.full(n, self.block[k]), f"%nctaid.{c}": np.full(n, self.grid[k])}
        self.special = {k: v.astype(np.uint32) for k, v in self.special.items()}
        self.shared_size = total(self.kernel.shared) + self.dynamic
        self.stride = -(-self.shared_size // 16) * 16 + 16       # between blocks' shared memory: bytes that are not there
        self.shared = Space(blocks * self.stride, self.arena.word)
        self.shared.there.reshape(blocks, -1)[:, :self.shared_size] = True
        self.local = np.zeros((n, -(-max(8, total(self.kernel.local)) // 8) * 8), np.uint8)

    # ------------------------------------------------------------ what runs next

    def run(self):
        """All threads, to the end."""
        code = self.kernel.code
        while not self.done.all():
            running = ~(self.done | self.waits)
            if self.cooperative or not running.any():
                self.release(running)
                running = ~(self.done | self.waits)
            if not running.any():
                continue
            lanes = self.fair(running) if self.cooperative else np.nonzero(running & (self.at == self.at[running].min()))[0]
            pc = int(self.at[lanes[0]])
            if pc >= len(code):
                self.done[lanes] = True
                continue
            self.now, self.steps = code[pc], self.steps + 1
            self.at[lanes] = pc + 1
            try:
                self.step(code[pc], self.chosen(code[pc], lanes))
            except Race as e:
                self.fail(str(e), e.lane)
            except Unknown as e:
                raise Fault(f"{self.kernel.name}: the interpreter does not know {e}") from None

    def fail(self, what, lane):
        """A Fault at the current instruction."""
        n = int(self.who.number[lane])
        raise Fault(f"{self.kernel.name}: {what}; line {self.now.line}, `{self.now.text}`, block {n // self.threads}, "
                    f"thread {n % self.threads}")

    def chosen(self, instruction, lanes):
        """Those of the lanes for which the predicate holds."""
        if instruction.predicate is None:
            return lanes
        return lanes[self.register(f"%{instruction.predicate}")[lanes] != instruction.negated]

    def fair(self, running):
        """The lanes of the warp that has waited longest, and of others at the same place: blocks may wait for blocks."""
        behind = np.minimum.reduceat(np.where(running, self.at, LAST), self.warps)
        pc = behind[np.argmin(np.where(behind < LAST, self.turn, LAST))]
        of_warp = np.repeat(behind == pc, np.diff([*self.warps, self.count]))
        self.turn[behind == pc] = self.steps + 1
        return np.nonzero(running & (self.at == pc) & of_warp)[0]

    def release(self, running):
        """Blocks none of whose threads run, since they stand at a barrier, go on."""
        waits, done, at, runs = (x.reshape(-1, self.threads) for x in (self.waits, self.done, self.at, running))
        for k in np.nonzero(waits.any(1) & ~runs.any(1))[0]:
            lane = k * self.threads + int(np.argmax(waits[k]))
            self.now = self.kernel.code[int(self.at[lane]) - 1]
            if done[k].any():
                self.fail("a barrier that some threads of the block do not reach, having returned", lane)
            if (at[k] != at[k][0]).any():
                self.fail("threads of the block wait at different barriers", lane)
            self.who.barriers[0].reshape(-1, self.threads)[k] += 1
            waits[k] = False

    def step(self, instruction, lanes):
        """One instruction for these lanes."""
        base = instruction.parts[0]
        if not len(lanes):
            return
        if base == "bra":
            self.at[lanes] = self.kernel.labels[instruction.operands[0]]
        elif base in ("ret", "exit"):
            self.done[lanes] = True
        elif base in ("bar", "barrier"):
            self.barrier(instruction, lanes)
        elif "cc" in instruction.parts or base in ("addc", "subc", "madc"):
            self.carrying(instruction, lanes)
        elif (special := getattr(self, f"_{base}", None)) is not None:
            special(instruction, lanes)
        elif base in ("membar", "fence"):
            if "cta" not in instruction.parts:
                self.who.fence(lanes)
        elif base != "nanosleep":
            given = [self.value(o, self.counted(instruction, k), lanes) for k, o in enumerate(instruction.operands[1:])]
            self.put(instruction.operands[0], compute(instruction.parts, instruction.kind, given), lanes)

    @staticmethod
    def counted(instruction, k):
        """The type of an operand: distances of shifts are whole numbers of 32 bits."""
        return "u32" if instruction.parts[0] in ("shl", "shr") and k == 1 else instruction.kind

    def barrier(self, instruction, lanes):
        """Of the block, or of the warp, whose lanes come together here."""
        if "warp" not in instruction.parts:
            self.waits[lanes] = True
            return
        mask = self.value(instruction.operands[0], "u32", lanes)
        self.together(mask, lanes)
        self.who.barriers[1, lanes] += 1

    def together(self, mask, lanes):
        """Refuse a warp operation that a lane of its mask does not reach with the others."""
        mask = np.broadcast_to(mask, len(lanes)).astype(np.uint64)
        own = self.every % self.threads % 32
        first = lanes - own[lanes]
        here, there = np.zeros(self.count + 32, bool), np.zeros(self.count + 32, bool)
        here[lanes] = True
        there[:self.count] = ~self.done
        for k in range(32):
            other = first + k
            inside = (first % self.threads + k < self.threads) & (mask >> np.uint64(k) & np.uint64(1)).astype(bool)
            if (bad := inside & there[other] & ~here[other]).any():
                self.fail(f"a warp operation that lane {k} of its mask does not reach", lanes[bad][0])
        if (bad := ~(mask >> own[lanes].astype(np.uint64) & np.uint64(1)).astype(bool)).any():
            self.fail("a warp operation whose mask lacks the lane itself", lanes[bad][0])

    # ------------------------------------------------------------ registers

    def register(self, name):
        """A register of all threads."""
        if name not in self.values:
            self.values[name] = np.zeros(self.count, TYPES[self.kernel.kind(name)])
        return self.values[name]

    def value(self, operand, kind, lanes):
        """An operand as numbers of a type."""
        if operand[0] == "%":
            found = (self.special[operand] if operand in self.special else self.register(operand))[lanes]
            return seen_as(found, kind)
        if operand[0] in "-!" and operand[1] == "%":
            found = self.value(operand[1:], kind, lanes)
            return -found if operand[0] == "-" else ~found
        if operand[0] in "-0123456789":
            return immediate(operand, kind)
        return TYPES[kind](self.symbol(operand))

    def symbol(self, name):
        """The address of a variable."""
        kernel = self.kernel
        if name in kernel.shared:
            return SHARED + kernel.shared[name][0]
        if name in kernel.dynamic:
            return SHARED + total(kernel.shared)
        if name in kernel.local:
            return LOCAL + kernel.local[name][0]
        if name in kernel.constants:
            return CONSTANT + (list(kernel.constants).index(name) << 20)
        raise Unknown(name)

    def put(self, operand, value, lanes):
        """Into a register, or into the two of `%r1|%p2`."""
        if "|" in operand:
            for name, v in zip(operand.split("|"), value, strict=True):
                self.put(name, v, lanes)
        elif operand != "_":
            register = self.register(operand)
            register[lanes] = seen_as(np.asarray(value), self.kernel.kind(operand))

    # ------------------------------------------------------------ memory

    def address(self, operand, lanes):
        """Addresses, one a lane."""
        base, more = ADDRESS.match(operand).groups()
        return np.broadcast_to(self.value(base, "u64", lanes), len(lanes)).astype(np.int64) + int(more or 0)

    def _ld(self, i, lanes):
        if "param" in i.parts:
            name, more = parameter(i.operands[1])
            if (name, more) in self.passed:                      # of a function
                for k, to in enumerate(names(i.operands[0])):
                    self.put(to, self.passed[name, more + k * SIZES[i.kind]][lanes], lanes)
                return
            raw = self.parameters[name][more:][:SIZES[i.kind]]
            self.put(i.operands[0], np.frombuffer(raw, TYPES[i.kind])[0], lanes)
            return
        to, n = names(i.operands[0]), SIZES[i.kind]
        at = self.address(i.operands[1], lanes)
        if "volatile" in i.parts and at[0] < SHARED:
            self.arena.check(at, n, n, lanes, "load")
            for a, lane in zip(at, lanes, strict=True):
                self.who.hear(int(a), lane)
            self.put(to[0], self.arena.bytes.view(TYPES[i.kind])[at // n], lanes)
            return
        for k, name in enumerate(to):
            self.put(name, self.load(at + k * n, n, 0 if k else n * len(to), lanes).view(TYPES[i.kind]), lanes)

    def load(self, at, n, wide, lanes):
        """Raw values from any space."""
        if at[0] >= CONSTANT:
            table = list(self.kernel.constants.values())[(int(at[0]) - CONSTANT) >> 20]
            return table.view(RAW[n])[(at - CONSTANT & (1 << 20) - 1) // n]
        if at[0] >= LOCAL:
            return self.local.view(RAW[n])[lanes, self.own(at, n, lanes)]
        if at[0] >= SHARED:
            return self.shared.load(self.here(at, n, lanes), n, wide, lanes, self.who, fresh=True)
        found = self.arena.load(at, n, wide, lanes, self.who)
        if n == 4 and (bad := found == 0xFFFFFFFF).any():
            self.fail("it reads memory that nobody has written", lanes[bad][0])
        return found

    def _st(self, i, lanes):
        n, given = SIZES[i.kind], names(i.operands[1])
        if "param" in i.parts:
            name, more = parameter(i.operands[0])
            for k, x in enumerate(given):
                place = self.passed.setdefault((name, more + k * n), np.zeros(self.count, TYPES[i.kind]))
                place[lanes] = self.value(x, i.kind, lanes)
            return
        at = self.address(i.operands[0], lanes)
        for k, name in enumerate(given):
            value = np.ascontiguousarray(np.broadcast_to(self.value(name, i.kind, lanes), len(lanes)))
            self.store(at + k * n, n, 0 if k else n * len(given), value.view(RAW[n]), lanes)

    def store(self, at, n, wide, raw, lanes):
        """Raw values into a space."""
        if at[0] >= LOCAL:
            self.local.view(RAW[n])[lanes, self.own(at, n, lanes)] = raw
        elif at[0] >= SHARED:
            self.shared.store(self.here(at, n, lanes), n, wide, raw, lanes, self.who)
        else:
            self.arena.store(at, n, wide, raw, lanes, self.who)

    def here(self, at, n, lanes):
        """Where addresses of shared memory are, each in its block's."""
        offset = at - SHARED
        if (bad := (offset < 0) | (offset + n > self.shared_size)).any():
            self.fail("shared memory out of bounds", lanes[bad][0])
        return self.every[lanes] // self.threads * self.stride + offset

    def own(self, at, n, lanes):
        """Where addresses of a thread's own memory are."""
        offset = at - LOCAL
        if (bad := (offset < 0) | (offset + n > total(self.kernel.local))).any():
            self.fail("an array of the thread's own out of bounds", lanes[bad][0])
        return offset // n

    def _atom(self, i, lanes):
        """A change that no other one comes into, one thread after the other."""
        how, given = next((how for k, how in ATOMIC.items() if k in i.parts), None), i.operands[i.parts[0] == "atom":]
        if how is None or SIZES[i.kind] < 4:
            raise Unknown(i.text)
        at, n = self.address(given[0], lanes), SIZES[i.kind]
        values = [np.broadcast_to(self.value(o, i.kind, lanes), len(lanes)) for o in given[1:]]
        space, at = (self.shared, self.here(at, n, lanes)) if at[0] >= SHARED else (self.arena, at)
        space.change(at, n, lanes, self.who)
        cells, old = space.bytes.view(TYPES[i.kind]), np.empty(len(lanes), TYPES[i.kind])
        for k in range(len(lanes)):
            old[k] = cells[at[k] // n]
            cells[at[k] // n] = how(old[k], *(v[k] for v in values))
            self.who.hear(int(at[k]), lanes[k])
            self.who.tell(int(at[k]), lanes[k])
        if i.parts[0] == "atom":
            self.put(i.operands[0], old, lanes)

    _red = _atom

    # ------------------------------------------------------------ what is neither memory nor arithmetic of one type

    def _mov(self, i, lanes):
        to, of = i.operands
        half = {"b64": ("b32", 32), "b32": ("b16", 16)}.get(i.kind)
        if of[0] == "{":
            low, high = (np.asarray(self.value(x, half[0], lanes)).astype(TYPES[i.kind]) for x in names(of))
            self.put(to, low | high << TYPES[i.kind](half[1]), lanes)
        elif to[0] == "{":
            value = np.asarray(self.value(of, i.kind, lanes))
            for k, name in enumerate(names(to)):
                if name != "_":
                    self.put(name, (value >> TYPES[i.kind](half[1] * k)).astype(TYPES[half[0]]), lanes)
        else:
            self.put(to, self.value(of, i.kind, lanes), lanes)

    def _cvta(self, i, lanes):
        self.put(i.operands[0], self.value(i.operands[1], i.kind, lanes), lanes)

    def _cvt(self, i, lanes):
        self.put(i.operands[0], converted(i.parts, self.value(i.operands[1], i.kind, lanes)), lanes)

    def carrying(self, i, lanes):
        """Sums of more bits than a register has, by way of the flag that holds the carry."""
        flag = self.values.setdefault("the carry", np.zeros(self.count, bool))
        given = [self.value(o, i.kind, lanes) for o in i.operands[1:]]
        found, over = carried(i.parts, flag[lanes] if i.parts[0][-1] == "c" else 0, *given)
        self.put(i.operands[0], found, lanes)
        if "cc" in i.parts:
            flag[lanes] = over

    def _mad(self, i, lanes):
        x, y = (self.value(o, i.kind, lanes) for o in i.operands[1:3])
        product = compute(("mul", *i.parts[1:]), i.kind, (x, y))
        wide = {"s32": "s64", "u32": "u64"}[i.kind] if "wide" in i.parts else i.kind
        self.put(i.operands[0], product + self.value(i.operands[3], wide, lanes), lanes)

    def _setp(self, i, lanes):
        x, y = (self.value(o, i.kind, lanes) for o in i.operands[1:3])
        found = compared(i.parts[1], x, y)
        if i.parts[2] in ("and", "or", "xor"):
            found = compute((i.parts[2],), "pred", (found, self.value(i.operands[3], "pred", lanes)))
        self.put(i.operands[0], found, lanes)

    def _selp(self, i, lanes):
        x, y = (self.value(o, i.kind, lanes) for o in i.operands[1:3])
        self.put(i.operands[0], np.where(self.value(i.operands[3], "pred", lanes), x, y).astype(TYPES[i.kind]), lanes)

    def _shfl(self, i, lanes):
        x, by, bounds, mask = (np.broadcast_to(self.value(o, k, lanes), len(lanes)).astype(np.int64)
                               for o, k in zip(i.operands[1:], ("u32", "s32", "u32", "u32"), strict=True))
        self.together(mask, lanes)
        lane = lanes % self.threads % 32
        segment, clamp = bounds >> 8 & 31, bounds & 31
        last, first = lane & segment | clamp & ~segment & 31, lane & segment
        how = i.parts[2]
        other = {"up": lane - by, "down": lane + by, "bfly": lane ^ by, "idx": first | by & ~segment & 31}[how]
        inside = other >= last if how == "up" else other <= last
        other = np.where(inside, other, lane)
        all_given, here = np.zeros(self.count + 32, np.int64), np.zeros(self.count + 32, bool)
        all_given[lanes], here[lanes] = x, True
        if (bad := ~here[lanes - lane + other]).any():
            self.fail("a shuffle that reads a lane which takes no part", lanes[bad][0])
        found = all_given[lanes - lane + other].astype(np.uint32)
        self.put(i.operands[0], (found, inside) if "|" in i.operands[0] else found, lanes)

    def _vote(self, i, lanes):
        given = np.broadcast_to(self.value(i.operands[1], "pred", lanes), len(lanes))
        self.together(self.value(i.operands[2], "u32", lanes), lanes)
        lane, warp = lanes % self.threads % 32, self.who.warp[lanes] + 32 * (self.who.block[lanes] - self.who.block[0])
        said, here = np.zeros((2, warp.max() + 1), np.uint64)
        np.bitwise_or.at(here, warp, np.uint64(1) << lane.astype(np.uint64))
        np.bitwise_or.at(said, warp[given], np.uint64(1) << lane[given].astype(np.uint64))
        found = {"ballot": said.astype(np.uint32), "any": said != 0, "all": said == here}[i.parts[2]]
        self.put(i.operands[0], found[warp], lanes)
