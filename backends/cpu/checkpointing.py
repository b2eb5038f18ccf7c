"""The gradient in chunks of time: the functions of `compiler.checkpointing`, printed, and the sweeps that call them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from ...compiler.checkpointing import Chunked, Piece
from ...compiler.graph import Expr, Input, Param, length
from ...compiler.options import Checkpoint
from ...compiler.passes.carry import offset
from ...compiler.passes.chunks import place
from ...compiler.passes.naming import quoted, quoted_tuple
from ...compiler.program import Draw, Function, flat
from . import carrying
from .entry import Entry, assigned, unpack
from .functions import FunctionPrinter
from .views import text

if TYPE_CHECKING:
    from .module import ModulePrinter
    from .program import Program

WORDS = ("carry", "shared", "sums", "d_carry", "d_shared", "d_sums", "first", "last", "steps", "every", "kept", "part", "found")
DOCS = {"chunk_start": "What all steps share, and what the first chunk starts from.",
        "chunk_forward": "The sums of a chunk, and what the next one starts from.",
        "top": "The loss, from the sums over all chunks, and its derivative by each sum.",
        "chunk_backward": "A chunk once more, and backwards: its share of the gradients goes into `grads`; the derivatives by\n"
                          "    what it started from are returned.",
        "chunk_start_backward": "What reaches parameters through the first chunk's start and through what all steps share."}
RETURNS = {"chunk_start": ("value", "slot"), "chunk_forward": ("sum", "after"), "top": ("d_sum", "d_value"),
           "chunk_backward": ("d_slot", "d_value"), "chunk_start_backward": ()}
HELD = ("carry", "shared", "sums", "d_carry", "d_shared", "d_sums")


@dataclass
class Printed:
    """One printed function: its arguments after `params`, whether it writes gradients, and its text."""

    arguments: list[str]
    text: str
    printer: FunctionPrinter


ITEMS = {"int": 8, "double": 8, "bool": 1}               # bytes of an element; a real has the parameters'


@dataclass(frozen=True)
class CheckpointPlan:
    """How a step is cut at given lengths, and what it takes, in bytes, beside parameters, inputs and gradients.

    `buffers` are the workspace's, `starts` what every chunk starts from, `part` one chunk's share of the gradients.
    """

    how: Checkpoint
    steps: int
    chunk: int
    buffers: int
    starts: int
    part: int
    without: int

    @property
    def chunks(self) -> int:
        return -(-self.steps // self.chunk)

    @property
    def bytes(self) -> int:
        return self.buffers + self.starts + self.part

    def __str__(self) -> str:
        return (f"checkpoint {self.how}: {self.steps} steps in {self.chunks} chunks of {self.chunk}; a training step takes "
                f"{_size(self.bytes)} of memory instead of {_size(self.without)} ({_size(self.buffers)} for a chunk, "
                f"{_size(self.starts)} for what the chunks start from)")


def checkpoint_plan(program: Program, lengths: dict[str, int]) -> CheckpointPlan:
    """The plan at these lengths, {"B": 32, "T": 4096}. ValueError where the program has no checkpoints."""
    it, how = program.compiled.chunked, program.options.checkpoint
    if it is None or not isinstance(how, Checkpoint):
        raise ValueError(f"{program.system.name} was compiled without checkpoint")
    t, real = str(length(it.chunks.axis)), np.dtype(program.dtype)
    env = {**program.system.sizes, **lengths}
    wanted = inspect.signature(program.module._chunk_length).parameters
    chunk = int(program.module._chunk_length(*({**env, "dtype": real}[k] for k in wanted)))
    inside = {**env, t: min(chunk, env[t])}

    def buffers(name: str, env: dict[str, int]) -> int:
        slots = program.printers[name].plan.slots
        return sum(max(s.evaluate(env) for s in slot.sizes) * ITEMS.get(slot.kind, real.itemsize) for slot in slots)

    def count(e: Expr) -> int:
        return prod(s.evaluate(env) for s in e.dims) * real.itemsize

    cut = ("chunk_forward", "chunk_backward")
    held = sum(buffers(name, inside if name in cut else env) for name in it.pieces)
    starts = -(-env[t] // chunk) * sum(count(x.node) for x in it.chunks.slots)
    part = sum(count(program.system.params[k].node) for k in program.compiled.trained)
    return CheckpointPlan(how, env[t], inside[t], held, starts, part, buffers("gradients", env))


def _size(n: int) -> str:
    return f"{n / 1e6:.1f} MB" if n < 1e9 else f"{n / 1e9:.2f} GB"


class Checkpointing:
    """Prints `_gradients` as sweeps over chunks, and the functions that they call."""

    number = "{}"                                                # how a number leaves a function

    def __init__(self, module: ModulePrinter, it: Chunked, how: Checkpoint) -> None:
        self.module, self.it, self.how = module, it, how
        self.compiled, self.chunks = module.compiled, it.chunks
        self.axis, self.t = it.chunks.axis, str(length(it.chunks.axis))
        self.leaves = self._leaves()
        self.printed = {name: self._piece(name, piece) for name, piece in it.pieces.items()}

    def _leaves(self) -> dict[Expr, str]:
        """Where a function finds what passes between the functions."""
        c, out = self.chunks, dict[Expr, str]()
        out.update((n, f"shared[{quoted(k)}]") for k, n in c.shared.items())
        out.update((n, f"sums[{quoted(k)}]") for k, n in c.crossings.items())
        out.update((x.node, f"carry[{quoted(x.key)}]") for x in c.slots)
        for kind, held, keys in (("value", "d_shared", c.shared), ("sum", "d_sums", c.crossings),
                                 ("after", "d_carry", [x.key for x in c.slots]), ("slot", "d_carry", [x.key for x in c.slots])):
            out.update((self.it.derivative(kind, k), f"{held}[{quoted(k)}]") for k in keys)
        return {**out, offset(self.axis): "first", c.whole: "steps"}

    # ------------------------------------------------------------ one function

    def _piece(self, name: str, piece: Piece) -> Printed:
        compiled, m = self.compiled, self.module
        names = dict(piece.system.names)
        for k, e in piece.gradients.items():
            names.setdefault(e, f"d_{k}")
        names.update((e, e.name) for e in self.leaves if isinstance(e, Input) and e.name.isidentifier())
        printer = m.Function(compiled.functions[name], compiled.layouts[name], piece.system, names, m.uses,
                             (*m.reserved, *WORDS), m.level > 0, piece.explained, m.options,
                             offsets={self.axis: "first"} if self.chunks.numbered else {}, leaves=self.leaves)
        printer.name, m.module.printers[name] = name, printer
        body, entry = printer.body(), Entry(name, m.system, printer, m.uses)
        after = self._epilogue(name, piece, printer)
        lines = [*self._prologue(printer), *self._buffers(entry), *body.lines, *after]
        args = self._arguments(printer, lines)
        head = f"def _{name}({', '.join(['params', *args])}):"
        doc = [*_head(head), *f'    """{DOCS[name]}"""'.split("\n")]
        above = len(doc) + len(lines) - len(body.lines) - len(after)
        if name == "chunk_backward":                             # these lines compute the gradients
            m.rows[f"def _{name}"] = {k: [above + r for r in where] for k, where in body.where.items()}
            m.rows.pop("def _gradients", None)
        buffers = entry.buffers()
        return Printed(args, "\n".join([*doc, *lines]) + "\n" + (f"\n\n{buffers}" if buffers else ""), printer)

    def _prologue(self, printer: FunctionPrinter) -> list[str]:
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Param)}
        every = (*self.module.system.params, *self.module.system.stats)
        used = [k for k in every if k in local]
        results = {k.removeprefix("d_") if k not in self.module.system.stats else k: v.array.name
                   for k, v in printer.function.results.items() if v.array.role == "result"}
        written = [k for k in every if k in results]
        lines = unpack([local[k] for k in used], "params", used, every)
        lines += unpack([results[k] for k in written], "grads", written, every)
        return [*lines, f"    dtype = params[{quoted(every[0])}].dtype"]

    def _buffers(self, entry: Entry) -> list[str]:
        names = [a.name for _, a in entry.printer.buffers()]
        call = f"_{entry.name}_buffers({', '.join(['workspace', *entry.lengths(), 'dtype'])})"
        return assigned(names, call) if names else []

    def _epilogue(self, name: str, piece: Piece, printer: FunctionPrinter) -> list[str]:
        results = printer.function.results
        out = [text(results["loss"])] if name == "top" else []
        lines: list[str] = []
        for kind in RETURNS[name]:
            keys = piece.results.get(kind, {})
            if kind in ("value", "d_value") and not keys:
                continue
            word = {"sum": "sums", "d_sum": "d_sums", "after": "carry", "slot": "carry", "d_slot": "d_carry",
                    "value": "shared", "d_value": "d_shared"}[kind]
            items = [f"{quoted(k)}: {self._value(printer.function, place(kind, k))}" for k in keys]
            if name == "chunk_start" and kind == "slot":
                items = self._starts(items)
            lines += carrying.entries(f"    {word} = ", items)
            out.append(word)
        return [*lines, f"    return {', '.join(out)}"] if out else lines

    def _value(self, function: Function, key: str) -> str:
        """A value that outlives the function: a copy, since the workspace is written again."""
        if key in function.numbers:
            return f"np.asarray({getattr(function.numbers[key], 'value', 0)!r}, dtype)"
        v = function.results[key]
        return carrying._copy(v) if v.dims else self.number.format(text(v))

    def _starts(self, items: list[str]) -> list[str]:
        """Boundary values in the order of the slots; those that are numbers are made here."""
        found = dict(i.split(": ", 1) for i in items)
        return [f"{quoted(x.key)}: {found.get(quoted(x.key)) or carrying._declared(x)}" for x in self.chunks.slots]

    def _arguments(self, printer: FunctionPrinter, lines: list[str]) -> list[str]:
        """What a function's lines read, in a fixed order."""
        body = "\n".join(lines)
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Input)}
        sizes = {s for e in printer.layout.plan.order for d in e.dims for s in d.symbols} | {"B", self.t}
        grads = ["grads"] if "grads[" in body else []
        held = [h for h in HELD if re.search(rf"\b{h}\[", body)]
        lengths = [n for n in sorted(sizes - {*self.module.system.sizes}) if re.search(rf"\b{n}\b", body)]
        told = [w for w in ("first", "steps") if re.search(rf"\b{w}\b", body)]
        seed = ["seed"] if any(isinstance(s, Draw) for s in flat(printer.function.body)) else []
        return [*grads, *(local[k] for k in printer.function.inputs), *held, *lengths, *told,
                *(["workspace"] if re.search(r"\bworkspace\b", body) else []), *seed]

    # ------------------------------------------------------------ the sweeps

    def text(self) -> list[str]:
        """All functions, the sweeps first."""
        return [self.sweeps(), self.chunk_length(), *(p.text for p in self.printed.values())]

    def _call(self, name: str, grads: str = "grads", chunk: bool = True) -> str:
        """A call of one of the functions; in a chunk, inputs along time are cut and the length is the chunk's."""
        given = []
        for a in self.printed[name].arguments:
            node = self.module.system.inputs.get(a)
            if a == "grads":
                a = grads
            elif node is not None and self.axis in node.axes and chunk:
                a += f"[{', '.join([':'] * node.axes.index(self.axis) + ['first:last'])}]"
            elif a == self.t and chunk:
                a = "last - first"
            elif a == "steps":
                a = self.t
            given.append(a)
        return f"_{name}({', '.join(['params', *given])})"

    def sweeps(self) -> str:
        """`_gradients`: forwards over the chunks, then backwards."""
        m, t = self.module, self.t
        plain = m.module.printers["gradients"]
        args = ["params", "grads", *m.arguments("gradients"), "workspace", *(["seed"] if m.seeded else [])]
        inputs = Entry("gradients", m.system, plain, m.uses).inputs({k: k for k in plain.function.inputs})
        lines = [f"def _gradients({', '.join(args)}):",
                 '    """The loss; the gradients go into the arrays of `grads`.', "",
                 "    Forwards, only what each chunk of steps starts from is kept; backwards, one chunk after the other is",
                 "    computed once more, the last one first.", '    """', "    check_params(params, PARAMS)", *inputs,
                 f"    every = _chunk_length({self._sized()})", *self._start(), "    kept, sums = [], {}",
                 f"    for first in range(0, {t}, every):", f"        last = min(first + every, {t})",
                 "        kept.append(carry)" if self.chunks.slots else "",
                 *self._assigned("        ", ["found", "carry"], self._call("chunk_forward")),
                 f"        sums = added(sums, found{self._lasts()})", "", *self._top(), *self._backward(), "    return loss"]
        self.module.uses |= {"added", "check_params"}
        return "\n".join(_trim(lines)) + "\n"

    def _sized(self) -> str:
        if self.how.kind != "memory":
            return self.t
        words = {*re.findall(r"[A-Za-z_]\w*", self._bytes())} - {"max", "dtype", "itemsize", "every", "chunks", self.t}
        return ", ".join([*sorted(words - {*self.module.system.sizes}), self.t, "dtype"])

    def _lasts(self) -> str:
        return f", last={quoted_tuple(self.chunks.lasts)}" if self.chunks.lasts else ""

    def _assigned(self, indent: str, names: list[str], call: str) -> list[str]:
        line = f"{indent}{', '.join(names)} = {call}"
        return _head(line) if len(line) > 100 else [line]

    def _start(self) -> list[str]:
        """What the first chunk starts from."""
        c = self.chunks
        if "chunk_start" in self.printed:
            names = [*(["shared"] if c.shared else []), "carry"]
            return self._assigned("    ", names, self._call("chunk_start", chunk=False))
        return carrying.entries("    carry = ", [f"{quoted(x.key)}: {carrying._declared(x)}" for x in c.slots])

    def _top(self) -> list[str]:
        names = ["loss", "d_sums", *(["d_shared"] if self.it.pieces["top"].results.get("d_value") else [])]
        every = "(*TRAINED, *STATS)" if self.module.system.stats else "TRAINED"
        call = self._assigned("    ", names, self._call("top", chunk=False))
        return [f"    for k in {every}:", "        grads[k][...] = 0", *call]

    def _backward(self) -> list[str]:
        c, t, back = self.chunks, self.t, self.it.pieces["chunk_backward"]
        names = ["d_carry", *(["found"] if back.results.get("d_value") else [])]
        out = ["    part = {k: np.empty_like(params[k]) for k in TRAINED}"]
        out += ["    d_carry = {k: np.zeros_like(v) for k, v in carry.items()}"] if c.slots else []
        shared = bool(back.results.get("d_value"))
        if shared and not self.it.pieces["top"].results.get("d_value"):
            out.append("    d_shared = {}")
        out += [f"    for first in reversed(range(0, {t}, every)):", f"        last = min(first + every, {t})"]
        out += ["        carry = kept.pop()"] if c.slots else []
        out += self._assigned("        ", names, self._call("chunk_backward", "part"))
        out += ["        d_shared = added(d_shared, found)"] if shared else []
        out += self._accumulated("        ", back)
        if self._ended():
            out.append(f"        d_sums.update((k, np.zeros_like(d_sums[k])) for k in {quoted_tuple(self._ended())})")
        if "chunk_start_backward" in self.printed:
            out.append(f"    {self._call('chunk_start_backward', 'part', chunk=False)}")
            out += self._accumulated("    ", self.it.pieces["chunk_start_backward"])
        return out

    def _ended(self) -> list[str]:
        """The last steps whose derivatives only the last chunk receives."""
        return [k for k in self.chunks.lasts if k in self.it.pieces["top"].results["d_sum"]]

    def _accumulated(self, indent: str, piece: Piece) -> list[str]:
        trained = self.compiled.trained
        keys = [k for k in trained if k in piece.gradients]
        if not keys:
            return []
        every = "TRAINED" if len(keys) == len(trained) else quoted_tuple(keys)
        return [f"{indent}for k in {every}:", f"{indent}    grads[k] += part[k]"]

    def chunk_length(self) -> str:
        """`_chunk_length`: the plan."""
        t = self.t
        if self.how.kind == "sqrt":
            body = ['    """How many steps a chunk has: the square root of all; the starts then grow as a chunk does."""',
                    f"    return int(np.ceil(np.sqrt({t})))"]
        elif self.how.kind == "every":
            body = [f'    """How many steps a chunk has."""\n    return min({self.how.amount}, {t})']
        else:
            room = str(self.how).removeprefix("memory ")
            body = [f'    """As many steps as fit into {room}: a chunk\'s buffers, and what every chunk starts from."""',
                    f"    for chunks in range(1, {t} + 1):", f"        every = -(-{t} // chunks)",
                    f"        if {self._bytes()} <= {self.how.amount}:", "            return every",
                    f"    return int(np.ceil(np.sqrt({t})))                            # near the least that is possible"]
        return "\n".join([f"def _chunk_length({self._sized()}):", *body]) + "\n"

    def _bytes(self) -> str:
        """The bytes of a chunk's buffers and of the kept starts as text."""
        per = {"real": "dtype.itemsize", "int": "8", "double": "8", "bool": "1"}
        sums: dict[str, list[str]] = {}
        for name in ("chunk_forward", "chunk_backward"):
            for slot in self.printed[name].printer.plan.slots:
                sizes = [s.format({self.t: "every"}) for s in slot.sizes]
                sums.setdefault(per[slot.kind], []).append(f"max({', '.join(sizes)})" if len(sizes) > 1 else sizes[0])
        starts = [f"chunks*{_product(x.node)}" for x in self.chunks.slots]
        sums.setdefault("dtype.itemsize", []).extend(starts)
        return " + ".join(f"{k}*({' + '.join(v)})" for k, v in sums.items())


def _product(n: Expr) -> str:
    return "*".join(s.format() for s in n.dims) or "1"


def _head(line: str) -> list[str]:
    """A call or a definition with its arguments in rows where it is long."""
    if len(line) <= 100:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    cut = line.rfind(", ", 0, 100)
    return [line[:cut + 1], *_head(indent + "        " + line[cut + 2:])]


def _trim(lines: Iterable[str]) -> list[str]:
    """Lines without empty ones at the places of what is not needed."""
    out = list(lines)
    return [x for k, x in enumerate(out) if x or (k and out[k - 1])]


__all__ = ["Checkpointing"]
