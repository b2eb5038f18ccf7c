"""What a function's values are called, and the parts of arrays that its statements read.

The user's words for what has them; then a word from what a value is, in the order of printing. What stands in an array at
another index than its own gets views by which an index means in the code what it means in the equation: `hs` holds h with a
slot before the start, and `h_prev, h = hs[:-1], hs[1:]`. A named slice of an array is a view of that name: `f, i, o` of `fio`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ...compiler.graph import (
    Concat,
    Contract,
    Expr,
    Fold,
    Map,
    OneHot,
    Pad,
    Put,
    Reduce,
    Reshape,
    Shift,
    Slice,
    Transpose,
)
from ...compiler.passes.layout import Layout
from ...compiler.passes.memory import numbered
from ...compiler.passes.naming import Namer
from ...compiler.passes.turn import turns
from ...compiler.program import (
    BOOL,
    Along,
    Array,
    Block,
    Call,
    Convolve,
    Copy,
    Draw,
    Fixed,
    Function,
    Kernel,
    Load,
    Loop,
    Pick,
    Pool,
    Product,
    Ranges,
    Reduction,
    Refold,
    Stmt,
    Take,
    Unfold,
    Unpool,
    View,
    Winner,
    flat,
    leaves,
    reads,
    writes,
)
from .views import everything, kept, name_of, part_text, ranges
from .words import phrase, scales

TELLING = ("exp", "log", "tanh", "sigmoid", "softplus", "square", "sqrt", "abs", "neg", "relu", "real")  # ops in names


@dataclass
class Names:
    """Names the arrays of one function, whose values are `values`, and their views."""

    function: Function
    layout: Layout
    values: dict[Array, Expr]
    names: dict[Expr, str]
    namer: Namer
    allocated: Callable[[Array], bool]
    words: dict[Expr, str] = field(default_factory=dict)         # what a value is called, views included

    def run(self) -> None:
        """Names for all that is written, and for the parts that are read."""
        for a, e in self.values.items():
            if a.role in ("param", "input"):
                self.words[e] = a.name
        self.used = self._used()
        order = [out.array for _, s, _ in numbered(self.function.body) if (out := writes(s)) is not None]
        for a in dict.fromkeys(order):
            own = self.values.get(a)
            if not a.name and own is not None and own in self.names:
                self._call(a, self.names[own] + a.suffix)
        self.turned = {s.a.array: s.out.array for s in flat(self.function.body) if isinstance(s, Copy)
                       and s.a.array not in self.values and s.out.array.name}
        self._slices()
        self._factors()
        self._shares()
        self._rest(list(dict.fromkeys(order)))

    # ------------------------------------------------------------ arrays

    def _call(self, a: Array, word: str) -> None:
        """Name an array; one with room beside its value is called by the plural, and the value is a view of it."""
        e = self.values.get(a)
        shift = e if isinstance(e, Shift) and self.layout.kind[e] == "whole" else None
        roomy = shift or (e is not None and (self.layout.lead.get(e) or self.layout.trail.get(e)))
        if e is None or a.original is not None or a not in self.used or not roomy:
            a.name = self.namer.claim(word)
            if e is not None:
                self.words.setdefault(e, a.name)
            return
        name = self.words[e] = self.namer.claim(word)
        base = self.words.get(self.layout.plan.operands[e][0], word) if shift else name
        a.name = self.namer.claim(f"{base}_all" if base.endswith("s") else f"{base}s")
        self._view(e, name)
        for n in self.layout.plan.users[e]:
            if isinstance(n, Shift) and self.layout.kind[n] == "view" and self._key(n) in self.used.get(a, {}):
                self.words[n] = self.namer.claim(self.names.get(n) or shifted(name, n.s))
                self._view(n, self.words[n])

    def _view(self, e: Expr, name: str) -> None:
        v = self.layout.full(e)
        found = ranges(v)
        assert found is not None
        v.array.views.setdefault(found, name)

    def _key(self, e: Expr) -> Ranges | None:
        return ranges(self.layout.full(e))

    def _rest(self, order: list[Array]) -> None:
        """Words for what has none; what is computed in another's place lends it its name."""
        groups: dict[Array, list[Array]] = {}
        for a in order:
            groups.setdefault(a.home, []).append(a)
        for block, s in self._blocks(self.function.body):
            out = writes(s)
            if out is None or out.array.name:
                continue
            members = groups[out.array.home]
            later = [m for m in members[members.index(out.array) + 1:] if m in block or self._only_use(out.array, m)]
            under = out.array.storage
            named = under is not None and self.values.get(under) in self.names     # a named value keeps its name to itself
            before = under.name if under is not None and not named else ""
            name = next((m.name for m in later if m.name), "") or before
            if name:
                out.array.name = name
                self.words.setdefault(self.values[out.array], name) if out.array in self.values else None
            else:
                self._call(out.array, self._wanted(s) + out.array.suffix)

    def _only_use(self, a: Array, m: Array) -> bool:
        """Whether the value of a is read by nothing but a sum that ends in m, in whose place it stands."""
        e, users = self.values.get(a), self.layout.plan.users
        while e is not None and len(users[e]) == 1 and isinstance(u := users[e][0], Map) and u.f == "add":
            e = u
            if e is self.values.get(m):
                return True
        return False

    def _blocks(self, body: list[Stmt], block: frozenset[Array] = frozenset()) -> Iterator[tuple[frozenset[Array], Stmt]]:
        """Statements, each with the arrays that are written in its block."""
        for s in body:
            if isinstance(s, Block):
                inner = (writes(x) for x in s.body)
                yield from self._blocks(s.body, frozenset(v.array for v in inner if v is not None))
            elif isinstance(s, Loop):
                yield from self._blocks(s.body)
            else:
                yield block, s

    def _wanted(self, s: Stmt) -> str:
        """A name for what has none: from the operation and the named values that it is applied to."""
        def of(v: View) -> str:
            e, name = self.values.get(v.array), name_of(v)
            return self.names.get(e, name) if e is not None and name == v.array.name else name
        out = writes(s)
        e = self.values.get(out.array) if out is not None else None
        if e is None and out is not None and out.array in self.turned:
            return f"{self.turned[out.array].name}_last"
        found = (self._moved(e, s, of) or self._becomes(e, s)) if e is not None else ""
        return found or self._computed(e, s, of)

    def _moved(self, e: Expr, s: Stmt, of: Callable[[View], str]) -> str:
        """A name from what a value rearranges, or none."""
        if isinstance(e, Reshape) and isinstance(s, Copy) and len(e.shape) == 1 and of(s.a):
            return f"flat_{of(s.a)}"
        if isinstance(e, (Pad, Put)) and (inner := self._inner(e)):
            return f"{inner}_padded"
        if isinstance(e, Concat):
            found = "_".join(self.names.get(x, "") for x in e.args)
            return found if "" not in found.split("_") and len(found) < 24 else "parts"
        if isinstance(e, Shift):
            return self.names.get(e) or shifted(self.words.get(self.layout.plan.operands[e][0], "value"), e.s)
        operands = self.layout.plan.operands
        if not e.axes and any(isinstance(x, OneHot) for u in self.layout.plan.users[e] for x in operands[u]):
            return f"{of(reads(s)[0]) or 'table'}_biased"
        return ""

    def _becomes(self, e: Expr, s: Stmt) -> str:
        """A name from the one value into which this one goes, or none: `flat_d_p` is turned into d_p, `d_h_term` added to d_h."""
        how: dict[str, None] = {}                                # windows, padded, term: what e is of that value
        while len(users := self.layout.plan.users[e]) == 1:
            before, e = e, users[0]
            name = self.names.get(e, "")
            match e:
                case Reshape() if name and len(before.shape) == 1 and not how:
                    return f"flat_{name}"
                case Slice():
                    how["padded"] = None
                case Transpose():
                    how["last"] = None
                case Fold() if isinstance(s, Product):
                    how["windows"] = None
                case Map("add") if isinstance(s, Refold) or (isinstance(s, Product) and how):
                    how["term"] = None
                case Reduce() if isinstance(s, Kernel) and not how:
                    how["terms"] = None
                case Map("mul" | "div") if "terms" in how or "term" in how:
                    pass
                case _:
                    return ""
            if name:
                word = next((w for w in ("windows", "padded", "last", "terms") if w in how), "")
                return "_".join(x for x in (name, "term" if "term" in how else "", word) if x)
        return ""

    def _computed(self, e: Expr | None, s: Stmt, of: Callable[[View], str]) -> str:
        """A name from the operation."""
        match s:
            case Reduction(kind, _, a):
                return f"{'lse' if kind == 'logsumexp' else kind}_{of(a)}" if of(a) else kind
            case Pick(_, a):
                return f"{of(a)}_picked" if of(a) else "picked"
            case Take(_, a, index) | Product(_, a, index):
                weight, other = (index, a) if index.array.role == "param" else (a, index)
                image = next((n for n in (of(a), of(index)) if n.endswith("_windows")), "")
                if image:
                    return f"conv_{image.removesuffix('_windows').removesuffix('_padded')}"
                base = self._sum(e) or of(weight)
                if isinstance(s, Product) and {*s.lo} <= {*s.la} & {*s.lb} and of(a):        # summed over the rest of both
                    return f"dot_{of(index) if of(a).startswith('d_') else of(a)}"
                return f"{base}_{of(other).removeprefix('d_')}" if base and of(other) else "product"
            case Draw(key=key):
                return f"u_{key}"
            case Kernel(_, out, Call(f) as body) if f in TELLING and out.array.dims:
                read = next((of(x.view) for x in leaves(body) if isinstance(x, Load) and of(x.view)), "")
                return f"{f}_{read}" if read else f
            case Kernel(_, out) if out.array.kind == BOOL:
                return "mask"
            case Kernel(_, _, body):
                first = next((of(x.view) for x in leaves(body) if isinstance(x, Load) and of(x.view)), "")
                return phrase(body, of) or (f"{first}_scaled" if first and scales(body) else "term")
            case Copy(_, a):
                turned = a.array.role == "param" and kept(a) != sorted(kept(a))      # channels last
                return f"{of(a) or 'copy'}{'_turned' if s.flip else '_T' if turns(s) else '_last' if turned else ''}"
            case Unfold(_, a):
                return f"{of(a) or 'image'}_windows"
            case Pool() | Convolve():
                return f"{'pooled' if isinstance(s, Pool) else 'conv'}_{of(reads(s)[0])}"
            case Winner(_, a):
                return f"won_{of(a)}"
            case Unpool(_, g, won):
                return f"unpooled_{of(g)}" if won is None else f"d_{of(won).removeprefix('won_')}"
            case Refold():
                return "folded"
        return "term"

    def _inner(self, e: Expr) -> str:
        """What stands inside paddings."""
        while isinstance(e, (Pad, Put)):
            e = e.args[0]
        return self.names.get(e, getattr(e, "name", ""))

    def _sum(self, e: Expr | None) -> str:
        """The named sum in a loop of which e is the share that the loop does not compute."""
        users, loops, name = self.layout.plan.users, self.layout.plan.loop, ""
        while e is not None and loops[e] is None and len(users[e]) == 1 and isinstance(u := users[e][0], Map) and u.f == "add":
            name, e = name or self.names.get(u, ""), u
            if loops[u] is not None:
                return name if u in self.names else ""
        return ""

    # ------------------------------------------------------------ parts

    def _used(self) -> dict[Array, dict[Ranges, bool]]:
        """The parts of arrays that statements touch, and whether inside a loop. Copies of parts into results do not count.

        Only of arrays that exist before the statement: nothing is cut from what is yet to be made.
        """
        found: dict[Array, dict[Ranges, bool]] = {}
        made, late = set[Array](), set[Array]()
        around: Stmt | None = None
        for top, s, looped in tops(self.function.body):
            out = writes(s)
            assert out is not None
            if isinstance(top, Loop) and top is not around:
                around = top
                made |= {v.array for x in flat([top]) if (v := writes(x)) is not None and steps(v)}
            for v in (*reads(s), out):
                key = ranges(v)
                exists = v.array in made or self.allocated(v.array)
                copied = isinstance(s, Copy) and out.array.role == "result"
                filled = v is out and isinstance(s, Copy) and not looped       # one of several that make the array
                if not exists and not v.whole and key is not None and not filled:
                    late.add(v.array)
                straight = [x.dim for x in v.along if isinstance(x, Along)]
                if key is not None and exists and not copied and straight == sorted(straight):
                    parts = found.setdefault(v.array, {})
                    parts[key] = parts.get(key, False) or looped or turns(s)
            if not looped:
                made.add(out.array)
        return {a: parts for a, parts in found.items() if a not in late}

    def _slices(self) -> None:
        """The user's names for parts of arrays."""
        for e in self.layout.plan.order:
            if e in self.names and self.layout.kind[e] in ("view", "part") and not isinstance(e, Shift):
                self._slice(e, self.names[e])

    def _factors(self) -> None:
        """Columns of a weight that meet a value in a loop are called by both: W_h."""
        for e in self.layout.plan.order:
            for w, x in (e.args, e.args[::-1]) if isinstance(e, Contract) else ():
                w, x = (self.layout.plan.operands[e][e.args.index(k)] for k in (w, x))
                if isinstance(w, Slice) and w not in self.names and self.layout.kind[w] == "view":
                    base = self.words.get(self.layout.plan.operands[w][0])
                    while isinstance(x, (Shift, OneHot)):
                        x = self.layout.plan.operands[x][0]
                    if base and x in self.words:
                        self._slice(w, f"{base}_{self.words[x]}", looped=True)

    def _shares(self) -> None:
        """Parts of what a product gives all steps, read by a named sum in a loop: a_zr_x, the share of a_zr that x has."""
        for e in self.layout.plan.order:
            base = e
            while not isinstance(base, Contract) and base.args and isinstance(base, (Slice, Map)):
                base = self.layout.plan.operands[base][0]
            if isinstance(e, Slice) and e not in self.names and isinstance(base, Contract) and (name := self._sum(e)):
                x = self.layout.plan.operands[base][1]
                x = self.layout.plan.operands[x][0] if isinstance(x, OneHot) else x
                self._slice(e, f"{name}_{self.words.get(x, 'in')}", looped=True)

    def _slice(self, e: Expr, name: str, looped: bool = False) -> None:
        base = e
        while self.layout.kind[base] == "view":
            base = self.layout.plan.operands[base][0]
        if self.layout.kind[base] == "inline":                   # a repeated number
            return
        v = self.layout.full(e)
        key = ranges(v)
        parts = self.used.get(v.array, {})
        if key in parts and key != everything(v.array) and key not in v.array.views and (parts[key] or not looped):
            self.words[e] = self.namer.claim(name)
            v.array.views[key] = self.words[e]


def tops(body: list[Stmt]) -> Iterator[tuple[Stmt, Stmt, bool]]:
    """Every statement with the loop around it, or itself, and whether there is one."""
    for s in body:
        if isinstance(s, Block):
            yield from tops(s.body)
        elif isinstance(s, Loop):
            yield from ((s, x, True) for x in flat(s.body) if not isinstance(x, Loop))
        else:
            yield s, s, False


def steps(v: View) -> bool:
    """Whether a view is one step of an array that holds all of them."""
    return any(isinstance(x, Fixed) and x.axis is not None for x in v.along)


def shifted(name: str, s: int) -> str:
    """What stands s steps on: h_prev, h_prev2, h_next; `ahead` where the name says next or prev already."""
    if s > 0:
        return name + ("_ahead" if "_next" in name or "_prev" in name else "_next") + (str(s) if s > 1 else "")
    return f"{name}_prev{-s if s < -1 else ''}"


def cut(body: list[Stmt], kept: Iterable[View]) -> dict[Array, dict[str, None]]:
    """The names of parts that the statements use and that are returned, by array."""
    found: dict[Array, dict[str, None]] = {}
    used = [v for s in flat(body) if not isinstance(s, Loop) for v in (*reads(s), writes(s))]
    for v in (*used, *kept):
        if v is not None and v.array.views and name_of(v) != v.array.name:
            found.setdefault(v.array, {})[name_of(v)] = None
    return found


def declared(array: Array, used: dict[str, None]) -> str:
    """The line that cuts an array into its named parts: `h_prev, h = hs[:-1], hs[1:]`; equal parts of all of it by one call."""
    parts = [(key, name) for key, name in array.views.items() if name in used]
    parts.sort(key=lambda p: [lo.evaluate(dict.fromkeys(lo.symbols, 7)) for lo, _ in p[0]])
    left = ", ".join(name for _, name in parts)
    full = everything(array)
    if len(parts) > 2 and all(key[:-1] == full[:-1] for key, _ in parts):
        n = parts[0][0][-1][1]
        even = all(key[-1] == (n * k, n) for k, (key, _) in enumerate(parts))
        if even and n * len(parts) == full[-1][1]:
            return f"{left} = np.split({array.name}, {len(parts)}, axis={-1 if len(full) > 1 else 0})"
    return f"{left} = {', '.join(part_text(array, key) for key, _ in parts)}"
