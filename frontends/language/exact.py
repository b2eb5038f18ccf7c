"""Expr -> Term, exactly: each notation is one that the elaborator turns into the same node again.

A short form is taken where building it anew gives the node itself; that is asked of the graph, not assumed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...compiler.formulas.calls import Word
from ...compiler.formulas.reading import LEAVES, OPERATORS, Reader, Reading, Where
from ...compiler.formulas.terms import Term, call, concat, index, infix, name, number, prefix, terms_below, transpose
from ...compiler.formulas.text import to_text as term_text
from ...compiler.graph import (
    BATCH,
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Flip,
    Fold,
    Freeze,
    GraphError,
    Index,
    Input,
    Intercept,
    Map,
    Noise,
    OneHot,
    Pad,
    Param,
    Put,
    Reduce,
    Ref,
    Reshape,
    Shift,
    Size,
    Slice,
    Stop,
    Thaw,
    Transpose,
    Window,
    matmul,
)
from ...compiler.node import base, length, shown
from ...compiler.system import System
from . import semantics
from .boundaries import Boundaries, batched, cycles
from .image_words import made_by
from .recognise import average_of, between, dropout_of, losses, softmax_operand, written

LETTERS = "ijklmnopqrstuvwxyzabcdefghABCDEFGHIJKLMNOPQRSTUVWXYZ"
FOLDING = ("add", "sub", "mul", "div", "pow", "neg")     # of constants, the language computes these by itself


class PrintingError(ValueError):
    """A system that the language cannot say."""


class ExactReader(Reader):
    """Reads the nodes of one system; `done` are the equations that stand above."""

    def __init__(self, system: System, order: Sequence[str], bounds: Boundaries) -> None:
        self.called = {e: n for n, e in reversed(system.equations.items()) if not isinstance(e, LEAVES)}
        super().__init__(self.called)
        self.system, self.bounds = system, bounds
        self.done: dict[str, None] = {}
        self.cyclic, self.batched = cycles(system, order, bounds), batched(system)
        self.frame, self.draws, self.short = "", 0, True
        self.axes = second_names(system)
        self.proof = semantics.Proof(system.domains, system.equations.get)

    def right_side(self, e: Expr, frame: str) -> Term:
        """The term of an equation's right side; a second name of an expression reads the first."""
        expand = self.called.get(e) == frame or e not in self.called
        for short in (True, False):
            self.frame, self.draws, self.short = frame, 0, short
            term = self.term(e, expand)
            if not short or self._drawn_once(term):
                break
        return term

    @staticmethod
    def _drawn_once(root: Term) -> bool:
        """Whether each `dropout(...)` prints once, so that each draw keeps its key."""
        times = {root: 1}
        for term in reversed(list(terms_below(root))):
            for a in term.args:
                times[a] = times.get(a, 0) + times[term]
        return all(n == 1 for t, n in times.items() if t.kind == "call" and t.head == "dropout")

    def spot(self, e: Expr, where: Where) -> list[str]:
        return [self.axis(a) for a in e.axes if a != BATCH]

    def axis(self, axis: str) -> str:
        """What an axis is called in the text."""
        return self.axes.get(axis, axis)

    def word(self, e: Expr) -> Word | None:
        """The word for images, where it makes this very node."""
        found = super().word(e)
        return found if found is not None and made_by(found, self.system.sizes) is e else None


    # ------------------------------------------------------------ leaves

    def read_Const(self, e: Const, where: Where) -> Reading:
        yield from ()
        if isinstance(e.value, bool) or e.value != e.value:
            raise PrintingError(f"the constant {e.value} has no notation")
        if isinstance(e.value, float) and math.isinf(e.value):
            return name("inf") if e.value > 0 else prefix("-", name("inf"))
        return number(e.value)

    def read_Extent(self, e: Extent, where: Where) -> Reading:
        yield from ()
        return Term("size", str(e.size))

    def read_Input(self, e: Input, where: Where) -> Reading:
        if any(e is arrives for arrives, _ in self.system.surgery.values()):
            yield from ()
            return name(e.name)
        out = yield from self.named(e.name, e, where)
        return out

    def read_Ref(self, e: Ref, where: Where) -> Reading:
        """A closing edge that no delayed read by name makes."""
        yield from ()
        if e.type.kind != "real":
            raise PrintingError(f"the closing edge to {e.name} is not of real numbers")
        return call("ref", Term("text", f'"{e.name}"'), *(name(self.axis(a)) for a in e.axes), *_sizes(e.shape))

    def read_Noise(self, e: Noise, where: Where) -> Reading:
        yield from ()
        return call(e.kind, Term("text", f'"{e.key}"'), *(name(self.axis(a)) for a in e.axes), *_sizes(e.shape))

    def read_Index(self, e: Index, where: Where) -> Reading:
        yield from ()
        return name(self.axis(e.axis))

    # ------------------------------------------------------------ sequences

    def read_Shift(self, e: Shift, where: Where) -> Reading:
        a = e.args[0]
        variable = self.bounds.variable(e)
        if variable is not None and self.bounds.states(e) and self._reads_so(a, variable):
            yield from ()
            return name(variable, [self.axis(x) + (f"{e.s:+d}" if x == e.axis else "") for x in e.axes if x != BATCH])
        out = yield a, ()
        inits = []
        for init in e.inits:
            inits.append((yield init, ()))
        return call("shift", out, name(self.axis(e.axis)), number(e.s), *inits)

    def _reads_so(self, a: Expr, variable: str) -> bool:
        """Whether `v[t-1]` reads this node: the closing edge of an equation that is still to come, or its expression."""
        if not isinstance(a, Ref):
            return isinstance(a, Input) or variable in self.done or not self._same_cycle(variable)
        e = self.system.equations[a.name]
        alike = (a.axes, a.shape, a.type) == (e.axes, e.shape, e.type) and (BATCH in a.axes) == (variable in self.batched)
        return alike and variable not in self.done and self._same_cycle(variable)

    def _same_cycle(self, variable: str) -> bool:
        own = self.cyclic.get(self.frame)
        return own is not None and own == self.cyclic.get(variable)

    def read_At(self, e: At, where: Where) -> Reading:
        a = e.args[0]
        if isinstance(a, Input) or (a in self.called):
            yield from ()
            step = "last" if e.i == -1 else str(e.i) if e.i >= 0 else f"{length(e.axis)}{e.i}"
            own = a.name if isinstance(a, Input) else self.called[a]
            return name(own, [step if x == e.axis else self.axis(x) for x in a.axes if x != BATCH])
        out = yield a, ()
        return call("at", out, name(self.axis(e.axis)), number(e.i))

    def read_Put(self, e: Put, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("put", out, name(self.axis(e.axis)), number(e.i))

    def read_Freeze(self, e: Freeze, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("freeze", out, name(self.axis(e.axis)))

    def read_Thaw(self, e: Thaw, where: Where) -> Reading:
        again = self._second_reading(e)
        if again is not None:
            yield from ()
            return again
        out = yield e.args[0], ()
        return call("thaw", out, name(self.axis(e.axis)))

    def _second_reading(self, e: Thaw) -> Term | None:
        """`k[u]` where e is the named k[t] along a second name of t."""
        frozen = e.args[0]
        if not isinstance(frozen, Freeze) or base(frozen.axis) != base(e.axis):
            return None
        a = frozen.args[0]
        if not (isinstance(a, Input) or a in self.called):
            return None
        own = a.name if isinstance(a, Input) else self.called[a]
        return name(own, [self.axis(e.axis if x == frozen.axis else x) for x in a.axes if x != BATCH])

    # ------------------------------------------------------------ arithmetic

    def read_Map(self, e: Map, where: Where) -> Reading:
        for f, make in (("softmax", semantics.softmax), ("log_softmax", semantics.log_softmax)):
            found = softmax_operand(e, f)
            if found is not None and make(found[0], found[1]) is e and not any(n in self.called for n in between(e, found[:1])):
                out = yield found[0], ()
                plain = found[1] == (len(found[0].shape) - 1,)
                return call(f if plain else f"{f}[{', '.join(self.over(found[1]))}]", out)
        loss = self._loss(e)
        if loss is not None:
            out, target = (yield loss[1], ()), (yield loss[2], ())
            return call(loss[0], out, target)
        average = average_of(e, self.opaque)
        if average is not None:
            out = yield from self.reduced(*average)
            return out
        if self.short and e.f == "mul":
            kept = dropout_of(e)
            if kept is not None:
                out = yield e.args[0], ()
                self.draws += 1
                key = self.frame if self.draws == 1 else f"{self.frame}#{self.draws}"
                if key == kept[0].key:
                    return call("dropout", out, number(kept[1]))
                self.draws -= 1
        operands = []
        for a in written(e):
            operands.append((yield from self.operand(e, a, where)))
        return self.elementwise(e.f, operands)

    def _loss(self, e: Map) -> tuple[str, Expr, Expr] | None:
        """cross_entropy(p, y), binary_cross_entropy(p, y) or squares(a, b), where e is exactly what they mean."""
        for f, make, operands in losses(e):
            try:
                if make(*operands) is e and (f == "squares" or self.proof(operands[0])) and not any(
                        n in self.called for n in between(e, operands)):
                    return f, *operands
            except GraphError:
                continue
        return None

    def elementwise(self, f: str, args: list[Term]) -> Term:
        kinds = {"size" if a.head == "size" else a.kind for a in args}
        if (kinds == {"number"} and f in FOLDING) or (kinds <= {"number", "size"} and f in ("add", "sub", "mul")):
            return call(f, *args)
        if f in OPERATORS:
            return infix(OPERATORS[f], args[0], args[1])
        if f in ("neg", "not"):
            return prefix("-" if f == "neg" else "not", args[0])
        if f == "pow":
            return infix("^", args[0], args[1])
        return call({"maximum": "max", "minimum": "min"}.get(f, f), *args)

    def read_Contract(self, e: Contract, where: Where) -> Reading:
        a, b = e.args
        left, right = (yield a, ()), (yield b, ())
        if a.shape and b.shape and a.shape[-1] == b.shape[0] and matmul(a, b) is e:
            if isinstance(a, OneHot) and isinstance(b, Param) and isinstance(a.args[0], Input) and a.n == a.args[0].type.n:
                return name(b.name, [term_text(left.args[0], exact=True)])
            return infix("@", left, right)
        spec = "{},{}->{}".format(*("".join(LETTERS[k] for k in ls) for ls in (e.la, e.lb, e.lo)))
        summed = [self.axis(x) for x in dict.fromkeys((*a.axes, *b.axes)) if x not in e.axes]
        spec += f"; {' '.join(summed)}" if summed else ""
        return call("contract", Term("text", f'"{spec}"'), left, right)

    def read_Reduce(self, e: Reduce, where: Where) -> Reading:
        out = yield from self.reduced(e.kind, e.args[0], e.over)
        return out

    def reduced(self, kind: str, a: Expr, over: tuple[str | int, ...]) -> Reading:
        out = yield a, ()
        if over == tuple(range(len(a.shape))):
            return call(kind, out)
        return Term("big", kind, (Term("grouped", "", (out,)),), self.over(over))

    def over(self, over: tuple[str | int, ...]) -> tuple[str, ...]:
        return tuple(self.axis(o) if isinstance(o, str) else str(o) for o in over)

    # ------------------------------------------------------------ moves

    def read_Broadcast(self, e: Broadcast, where: Where) -> Reading:
        a = e.args[0]
        out = yield a, ()
        if a.shape != e.shape:
            own = {p: str(k) for k, p in enumerate(e.places)}
            layout = " ".join(own.get(p, "_") for p in range(len(e.shape)))
            out = call("spread", Term("text", f'"{layout}"'), out, *_sizes([s for p, s in enumerate(e.shape) if p not in own]))
        more = [x for x in e.axes if x not in a.axes]
        return call("along", out, *(name(self.axis(x)) for x in more)) if more else out

    def read_Transpose(self, e: Transpose, where: Where) -> Reading:
        out = yield e.args[0], ()
        return transpose(out) if e.perm == (1, 0) else call("transpose", out, *map(number, e.perm))

    def read_Reshape(self, e: Reshape, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("reshape", out, *_sizes(e.shape))

    def read_Slice(self, e: Slice, where: Where) -> Reading:
        a = e.args[0]
        out = yield a, ()
        cut = f"{e.lo}:{e.hi}"
        if isinstance(a, Slice) and out.kind == "index" and a not in self.called:
            return Term("index", "", out.args, (*out.subs, *[":"] * (e.at - a.at - 1), cut))
        return index(out, [*[":"] * e.at, cut])

    def read_Pad(self, e: Pad, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("pad", out, number(e.at), *_sizes((e.lo, e.total)))

    def read_Concat(self, e: Concat, where: Where) -> Reading:
        bare = tuple(a.args[0] if isinstance(a, Broadcast) and a.args[0].shape == a.shape else a for a in e.args)
        parts = []
        for a in bare if Concat(e.at, bare) is e else e.args:
            parts.append((yield a, ()))
        return concat(parts) if e.at == len(e.shape) - 1 else call("concat", number(e.at), *parts)

    def read_Flip(self, e: Flip, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("flip", out, number(e.at))

    def read_Window(self, e: Window, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("window", out, number(e.at), *_sizes([e.k]), number(e.stride), number(e.dilation))

    def read_Fold(self, e: Fold, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("fold", out, number(e.at), *_sizes([e.n]), number(e.stride), number(e.dilation))

    def read_OneHot(self, e: OneHot, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("onehot", out, *([] if e.n == e.args[0].type.n else _sizes([e.n])))

    def read_Intercept(self, e: Intercept, where: Where) -> Reading:
        """What the equation of this name says."""
        yield from ()
        if e is not self.system.equations.get(e.name):
            raise PrintingError(f"an interception of {e.name} stands outside its equation")
        out = yield e.args[0], ()
        return out

    def read_Stop(self, e: Stop, where: Where) -> Reading:
        out = yield e.args[0], ()
        return call("stop", out)


def _sizes(sizes: Sequence[Size]) -> list[Term]:
    return [Term("size", str(s)) for s in sizes]


def second_names(system: System) -> dict[str, str]:
    """Second names of axes -> what they are called in the text: `u` of `t.u`, or `t.u` where u is the name of something else."""
    found = sorted({x for n in system.nodes() for x in n.axes if base(x) != x})
    taken = {*system.equations, *system.params, *system.inputs, *system.stats, *(x for n in system.nodes() for x in n.axes)}
    short = [shown(x) for x in found]
    return {x: shown(x) if shown(x) not in taken and short.count(shown(x)) == 1 else x for x in found}


__all__ = ["ExactReader", "PrintingError", "cycles"]
