"""Expr -> Term: a node as the formula that a person would write, cut at the nodes that have names.

Positions along time are carried down: a delay of an unnamed `W @ h[t]` reads `W @ h[t-1]`; its boundary values are the
variable's and stand elsewhere. The batch is not written, as in the language; a sum over the batch is `sum[batch]`, but in
an outer product `d_p @ h.T` it is implied (the columns of both are the examples). Repeating along axes and to the shape of
the other operand is implied, too.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import reduce
from typing import Any

from ..graph import (
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
)
from ..node import length, shown
from . import image_shapes, images
from .calls import Word, written
from .idioms import mean_of, softmax_of
from .products import product
from .terms import Term, big, call, concat, index, infix, name, number, prefix, trampoline, transpose
from .text import to_text

# (axis, what is counted from, steps): t-1 is (t, "t", -1), T-1 is (t, "T", -1)
Where = tuple[tuple[str, str, int], ...]
Place = tuple[Expr, Where]
Reading = Generator[Place, Term, Term]

OPERATORS = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
             "ne": "!=", "and": "and", "or": "or"}
LEAVES = (Const, Extent, Index, Param, Input, Ref, Noise)


def position(axis: str, where: Where) -> str:
    """The text of where one stands along an axis: `t`, `t-1`, `T-1`, `0`, `:`."""
    base, steps = next(((b, k) for a, b, k in where if a == axis), (shown(axis), 0))
    if not base:
        return str(steps)
    return base + (f"{steps:+d}" if steps else "")


def moved(where: Where, axis: str, base: str | None, steps: int) -> Where:
    """Another position along one axis: `steps` further, or at `base` + steps."""
    old_base, old = next(((b, k) for a, b, k in where if a == axis), (shown(axis), 0))
    rest = [w for w in where if w[0] != axis]
    new = (axis, old_base, old + steps) if base is None else (axis, base, steps)
    return tuple(sorted(rest if new == (axis, shown(axis), 0) else [*rest, new]))


class Reader:
    """Reads nodes as terms; `names` cut, `index` says whether `[t]` is written where nothing is shifted.

    `inline` are references that read as what they stand for; every cycle must pass a name.
    """

    def __init__(self, names: Mapping[Expr, str], index: bool = True, inline: Mapping[str, Expr] | None = None) -> None:
        self.names = names
        self.index = index
        self.inline = inline or {}

    def term(self, root: Expr, expand: bool = True) -> Term:
        """The formula of a node; `expand`: its own name does not cut."""
        def visit(place: Place) -> Reading:
            e, where = place
            if e in self.names and not isinstance(e, LEAVES) and not (expand and e is root and not where):
                return self.named(self.names[e], e, where)
            return self.sourced(e, where)

        found: Term = trampoline((root, ()), visit)
        return found

    def sourced(self, e: Expr, where: Where) -> Reading:
        """The reading of one node, which remembers the node."""
        out = yield from self.at(e, where)
        if out.source is None:
            out.source = e
        return out

    def at(self, e: Expr, where: Where) -> Reading:
        found = self.word(e)
        if found is not None:
            operands = []
            for a in found.operands:
                operands.append((yield self.inside(a, where)))
            return written(found, operands, self.size)
        rule = getattr(self, "read_" + type(e).__name__)
        out: Term = yield from rule(e, where)
        return out

    def word(self, e: Expr) -> Word | None:
        """The word for images that e reads as."""
        return images.word(e, self.opaque)

    size: Callable[[Size], str] = staticmethod(str)                             # how a size is written

    def opaque(self, e: Expr) -> bool:
        """Whether an idiom may not look into e, since it prints as its name."""
        return e in self.names

    @staticmethod
    def inside(e: Expr, where: Where) -> Place:
        """An operand at a position; positions along axes that it does not have are dropped."""
        return e, tuple(w for w in where if w[0] in e.axes)

    def spot(self, e: Expr, where: Where) -> list[str]:
        times = [a for a in e.axes if a != BATCH]
        if not self.index and not any(a == axis for axis in times for a, _, _ in where):
            return []
        return [position(a, where) for a in times]

    def named(self, text: str, e: Expr, where: Where) -> Reading:
        yield from ()
        out = name(text, self.spot(e, where))
        for term in (out, *out.args):                                        # a slice keeps the name and adds to the index
            term.source, term.delayed = e, bool(where)
        return out

    # ------------------------------------------------------------ leaves

    def read_Const(self, e: Const, where: Where) -> Reading:
        yield from ()
        return number(e.value)

    def read_Extent(self, e: Extent, where: Where) -> Reading:
        yield from ()
        return Term("size", str(e.size))

    def read_Index(self, e: Index, where: Where) -> Reading:
        yield from ()
        return Term("size", position(e.axis, where))

    def read_Param(self, e: Param, where: Where) -> Reading:
        return self.named(e.name, e, where)

    def read_Input(self, e: Input, where: Where) -> Reading:
        return self.named(e.name, e, where)

    def read_Ref(self, e: Ref, where: Where) -> Reading:
        if e.name not in self.inline:
            out = yield from self.named(e.name, e, where)
        else:
            out = yield self.inside(self.inline[e.name], where)
        return out

    def read_Noise(self, e: Noise, where: Where) -> Reading:
        yield from ()
        return call(e.kind, name(e.key))

    # ------------------------------------------------------------ sequences

    def read_Shift(self, e: Shift, where: Where) -> Reading:
        out = yield self.inside(e.args[0], moved(where, e.axis, None, e.s))
        return out

    def read_At(self, e: At, where: Where) -> Reading:
        out = yield self.inside(e.args[0], moved(where, e.axis, "" if e.i >= 0 else str(length(e.axis)), e.i))
        return out

    def read_Put(self, e: Put, where: Where) -> Reading:
        step = Term("size", str(e.i) if e.i >= 0 else f"{length(e.axis)}{e.i}")
        out = yield self.inside(e.args[0], where)
        return call("select", infix("==", Term("size", position(e.axis, where)), step), out, number(0))

    def read_Freeze(self, e: Freeze, where: Where) -> Reading:
        out = yield self.inside(e.args[0], moved(where, e.axis, ":", 0))
        return out

    def read_Thaw(self, e: Thaw, where: Where) -> Reading:
        a = e.args[0]
        if isinstance(a, Freeze) and not self.opaque(a):         # a second name of an axis: k[u]
            out = yield self.inside(a.args[0], moved(where, a.axis, position(e.axis, where), 0))
            return out
        out = yield self.inside(a, where)
        return index(out, [position(e.axis, where)])

    # ------------------------------------------------------------ arithmetic

    def read_Map(self, e: Map, where: Where) -> Reading:
        for match, builder in ((softmax_of, "softmax"), (mean_of, "mean")):
            found = match(e, self.opaque)
            if found is not None:
                out = yield from self.reduction(builder if match is mean_of else found[0], found[1], found[2], where)
                return out
        args = []
        summands = self.late_summands(e) if e.f == "add" else None
        for a in summands or e.args:
            args.append((yield from self.operand(e, a, where)))
        if summands:
            return reduce(lambda a, b: self.elementwise("add", [a, b]), args)
        return self.elementwise(e.f, args)

    def operand(self, e: Map, a: Expr, where: Where) -> Reading:
        """An operand; one number a channel at every position of an image reads `channels(b, x)`, x a value that e is made of."""
        x = image_shapes.image_beside(e, a, self.opaque) if isinstance(a, Broadcast) and image_shapes.per_channel(a) else None
        if x is None or self.opaque(a):
            out = yield self.inside(a, where)
            return out
        b = yield self.inside(a.args[0], where)
        out = yield self.inside(x, where)
        return call("channels", b, out)

    def late_summands(self, e: Map) -> list[Expr] | None:
        """A sum that begins with an inline reference (what arrives from another time) reads with that at its end."""
        spine: list[Expr] = []
        a: Expr = e
        while isinstance(a, Map) and a.f == "add" and (a is e or not self.opaque(a)):
            spine.append(a.args[1])
            a = a.args[0]
        return [*reversed(spine), a] if isinstance(a, Ref) and a.name in self.inline else None

    def elementwise(self, f: str, args: list[Term]) -> Term:
        """A primitive of operands: an operator where there is one."""
        if f == "add" and args[0].kind == "prefix" and args[0].head == "-" and args[1].kind != "prefix":
            return infix("-", args[1], args[0].args[0])                      # -a + b reads b - a
        if f == "add" and args[1].kind == "prefix" and args[1].head == "-":
            return infix("-", args[0], args[1].args[0])
        if f in OPERATORS:
            return infix(OPERATORS[f], args[0], args[1])
        if f in ("neg", "not"):
            return prefix("-" if f == "neg" else "not", args[0])
        if f in ("square", "pow"):
            return infix("^", args[0], number(2) if f == "square" else args[1])
        return call(f, *args)

    def read_Contract(self, e: Contract, where: Where) -> Reading:
        a, b = e.args
        left = yield self.inside(a, where)
        right = yield self.inside(b, where)
        if self.looks_up(e):
            return name(right.head, [to_text(left.args[0])])
        body, outer = product(left, e.la, right, e.lb, e.lo)
        body.source = None
        summed = [x for x in (*a.axes, *(x for x in b.axes if x not in a.axes)) if x not in e.axes]
        summed = [x for x in summed if not (outer and x == BATCH)]
        return big("sum", [*map(shown, summed)], body) if summed else body

    @staticmethod
    def looks_up(e: Contract) -> bool:
        """Whether e is `E[x]`: the rows of a parameter by the class that an input is."""
        a, b = e.args
        plain = isinstance(a, OneHot) and isinstance(a.args[0], Input) and isinstance(b, Param) and len(e.lb) == 2
        return plain and (e.la[-1:] == e.lb[:1]) and e.lo == e.la[:-1] + e.lb[1:] and {*a.axes} <= {*e.axes}

    def read_Reduce(self, e: Reduce, where: Where) -> Reading:
        out = yield from self.reduction(e.kind, e.args[0], e.over, where)
        return out

    def reduction(self, kind: str, a: Expr, over: tuple[str | int, ...], where: Where) -> Reading:
        """`sum(a)` over all features; what else it runs over stands in brackets."""
        out = yield self.inside(a, tuple(w for w in where if w[0] not in over))
        features = tuple(range(len(a.shape)))
        if over == features or (kind in ("softmax", "log_softmax", "argmax") and over == features[-1:]):
            return call(kind, out)
        return big(kind, [shown(o) if isinstance(o, str) else str(o) for o in over], out)

    # ------------------------------------------------------------ moves

    def read_Broadcast(self, e: Broadcast, where: Where) -> Reading:
        a = e.args[0]
        out = yield self.inside(a, where)
        trailing = e.places == tuple(range(len(e.shape) - len(a.shape), len(e.shape)))
        return out if trailing else index(out, [":" if p in e.places else "None" for p in range(len(e.shape))])

    def read_Transpose(self, e: Transpose, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        if e.perm == (1, 0):
            return transpose(out)
        return call("transpose", out, *(number(p) for p in e.perm))

    def read_Reshape(self, e: Reshape, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("reshape", out, *(Term("size", str(s)) for s in e.shape))

    def read_Slice(self, e: Slice, where: Where) -> Reading:
        cuts: dict[int, str] = {}
        a: Any = e
        while isinstance(a, Slice) and a.at not in cuts and (a is e or not self.opaque(a)):
            cuts[a.at] = f"{a.lo}:{a.hi}"
            a = a.args[0]
        out = yield self.inside(a, where)
        return index(out, [cuts.get(k, ":") for k in range(max(cuts) + 1)])

    def read_Pad(self, e: Pad, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        sizes = [Term("size", str(s)) for s in (e.lo, e.total)]
        return call("pad", out, *sizes, *([number(e.at)] if len(e.shape) > 1 else []))

    def read_Concat(self, e: Concat, where: Where) -> Reading:
        args = []
        for a in e.args:
            args.append((yield self.inside(a, where)))
        return concat(args) if e.at == len(e.shape) - 1 else call("concat", number(e.at), *args)

    def read_Flip(self, e: Flip, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("flip", out, *([number(e.at)] if len(e.shape) > 1 else []))

    def read_Window(self, e: Window, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("window", out, *([number(e.at)] if len(e.shape) > 2 else []), *_windows(e, e.k))

    def read_Fold(self, e: Fold, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("fold", out, *([number(e.at)] if len(e.shape) > 1 else []), *_windows(e, e.n))

    def read_OneHot(self, e: OneHot, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("onehot", out, *([] if e.n == e.args[0].type.n else [Term("size", str(e.n))]))

    def read_Intercept(self, e: Intercept, where: Where) -> Reading:
        out = yield from self.at(e.args[0], where)
        return out

    def read_Stop(self, e: Stop, where: Where) -> Reading:
        out = yield self.inside(e.args[0], where)
        return call("stop", out)


def _windows(e: Window | Fold, n: Size) -> list[Term]:
    """A window's size, or what it is folded to, and the stride and dilation as far as they are not 1."""
    steps = (e.stride, e.dilation) if e.dilation > 1 else (e.stride,) if e.stride > 1 else ()
    return [Term("size", str(n)), *map(number, steps)]


__all__ = ["LEAVES", "OPERATORS", "Place", "Reader", "Reading", "Where", "position"]
