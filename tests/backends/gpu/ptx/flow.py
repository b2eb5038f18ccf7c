"""Registers that an instruction reads although, on some path to it, nothing has set them.

A variable of CUDA C++ without a first value becomes such a register, or disappears: the compiler may choose any number for it.
What an instruction finds set is what all of its predecessors leave set; that is followed until nothing changes.
"""

import re

REGISTER = re.compile(r"%(?!(?:n?c?taid|n?tid)\.|laneid\b)\w+")
ENDS = ("ret", "exit")
READS_ALL = ("st", "red", "bra", "bar", "barrier", "membar", "fence", "nanosleep", *ENDS)


def unset(kernel):
    """Sentences, one for each register that is read before it is set."""
    code, bits = kernel.code, {}
    effects = [effect(i, bits) for i in code]
    before = [-1] * (len(code) + 1)                              # registers as bits of a number; -1: all, nothing known yet
    before[0], waiting = 0, [0]
    while waiting:
        at = waiting.pop()
        if at == len(code):
            continue
        after = before[at] | effects[at][1]
        for to in followers(code[at], at, kernel.labels):
            if (both := before[to] & after) != before[to]:
                before[to] = both
                waiting.append(to)
    bad = {}
    for i, (read, _), held in zip(code, effects, before, strict=False):
        for name, bit in bits.items() if read & ~held else ():
            if read & ~held & bit:
                bad.setdefault(name, f"line {i.line}, `{i.text}`: {name} is read, and on a path to here nothing has set it")
    return list(bad.values())


def effect(instruction, bits):
    """What an instruction reads and what it surely sets: under a predicate, nothing."""
    writes = () if instruction.parts[0] in READS_ALL else instruction.operands[:1]
    found = [[r for o in part for r in REGISTER.findall(o)] for part in (instruction.operands[len(writes):], writes)]
    if instruction.predicate is not None:
        found[0].append(f"%{instruction.predicate}")
    read, set_ = (sum({bits.setdefault(r, 1 << len(bits)) for r in part}) for part in found)
    return read, 0 if instruction.predicate else set_


def followers(instruction, at, labels):
    """The places of the instructions that may come next."""
    always = instruction.predicate is None
    if instruction.parts[0] == "bra":
        return (labels[instruction.operands[0]], *(() if always else (at + 1,)))
    return () if always and instruction.parts[0] in ENDS else (at + 1,)
