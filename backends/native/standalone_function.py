"""One function of a standalone C file: where its arrays live, what its caller hands over, what it gives back.

The statements are those of the native backend; arrays are static, and lengths are constants of the compiler's.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ...compiler.graph import BATCH, Broadcast, Const, Expr, Extent, Input, Param
from ...compiler.graph import length as axis_length
from ...compiler.passes.carry import Slot
from ...compiler.passes.naming import identifier
from ...compiler.passes.stepping import Stepping
from ...compiler.program import DOUBLE, Array, Draw, flat
from ...compiler.sizes import Size
from ...compiler.truncation import FIRST, Truncation
from ..cpu.steps import slot_name
from .function import NativeFunction
from .indexing import CTYPES, declaration
from .kernels import length, number
from .loops import INDENT, loops
from .words import KEYWORDS

ROLES = ("param", "result", "input", "value")
TYPES = {"class": "int64_t", "bool": "bool"}
FILE_WORDS = frozenset("B SIMD SIMD_SUM SIMD_PROD SIMD_MAX SIMD_MIN BATCH LENGTH REAL DOUBLE NULL FILE".split())


@dataclass(frozen=True)
class Argument:
    """What a caller hands over: an input, or an array for an output. `dims` are the caller's, the batch first."""

    name: str
    type: str
    dims: tuple[Size, ...]
    pointer: bool = False                                        # a single number that is written to

    def text(self, spelled: Mapping[str, str], name: str = "") -> str:
        """Its declaration; `spelled`: what symbols of sizes are called."""
        rows = "".join(f"[{length_text(n, spelled)}]" for n in self.dims)
        return f"{self.type} {'*' if self.pointer else ''}{name or self.name}{rows}"


@dataclass
class Frame:
    """What stands around the statements of a function: the file's words that it uses, its arguments."""

    prefix: str
    returns: str                                                 # real, bool or void
    inputs: dict[str, Input]
    outputs: dict[str, Expr] = field(default_factory=dict)
    checks: list[str] = field(default_factory=list)              # conditions under which nothing is done
    cut: Truncation | None = None
    steps: Stepping | None = None                                # of start and step
    stores: Mapping[str, str] = field(default_factory=dict)      # what a step remembers: key -> the value that it is
    slots: list[str] = field(default_factory=list)               # of each slot of the workspace: its array in the file
    held: dict[str, str] = field(default_factory=dict)           # input -> the array in which the file keeps it


class StandaloneFunction(NativeFunction):
    """Prints one function of a standalone file."""

    packs = False
    prefix = ""
    frame: Frame

    def arrays(self) -> list[Array]:
        """What statements touch, and what is returned as it is."""
        kept = (v.array.home for v in self.kept if v.array.dims or v.array.role != "value")
        return list(dict.fromkeys((*super().arrays(), *(a for a in kept if a not in self.scalars))))

    def _every(self) -> list[Array]:
        return list(dict.fromkeys((*super()._every(), *(v.array for v in self.kept))))

    def _c_names(self) -> dict[Array, str]:
        """No name of the file's own is hidden by an array's."""
        lengths = {*self.lengths(), "T"}
        found = super()._c_names()
        return {a: f"{n}_" if n in FILE_WORDS | lengths or n.startswith(f"{self.prefix}_") else n for a, n in found.items()}

    def name_all(self) -> None:
        """What arrays are called in C."""
        self.c_names = self._c_names()

    def text(self) -> str:
        """The function in C."""
        frame = self.frame
        self.name_all()
        keys = {v.array: k for k, v in self.function.results.items() if v.array.role == "result"}
        written = {a for a in self.arrays() if a in keys and not a.dims}
        self.printed = self.printing({a: f"(*{n})" if a in written else n for a, n in self.c_names.items()})
        order = sorted(self.arrays(), key=lambda a: ROLES.index(a.role))
        places = [line for a in order for line in self._place(a, keys.get(a, ""))]
        lines = [*places, *self.variables([a for a in self.arrays() if not a.dims]), *self._before(), *self._turned()]
        lines += self.work(self.printed)
        return "\n".join([f"{frame.returns} {self.head()}", "{", *lines, *self._after(), "}"]) + "\n"

    # ------------------------------------------------------------ the caller's side

    def given(self) -> list[Argument]:
        """The arguments, in the caller's order: inputs, then arrays for outputs."""
        out = [Argument(word(k), TYPES.get(e.type.kind, "real"), outward(e)) for k, e in self.frame.inputs.items()
               if k not in self.frame.held]
        for k, e in self.frame.outputs.items():
            v = self.function.results.get(k)
            kind = CTYPES.get(v.array.kind, "real") if v is not None else "real"
            out.append(Argument(word(k), "real" if kind == CTYPES[DOUBLE] else kind, outward(e), not e.dims))
        return out

    def inner(self) -> dict[str, str]:
        """What arguments are called inside: as the arrays, if they are these as they stand."""
        direct = {e.name: self.c_names[a] for a, e in self.values.items()
                  if isinstance(e, Input) and a in self.c_names and not turned(e)}
        taken = {*self.c_names.values()} - {*direct.values()}
        out = dict[str, str]()
        for k in (*self.frame.inputs, *self.frame.outputs):
            name = direct.get(k) if k in self.frame.inputs else None
            base = word(k) + ("_in" if k in self.frame.inputs else "_out")
            while base in taken:
                base += "_"
            out[k] = name or base
        return out

    def head(self) -> str:
        """`name(arguments)`, under the names that they have inside."""
        inner = self.inner()
        keys = [k for k in (*self.frame.inputs, *self.frame.outputs) if k not in self.frame.held]
        args = [a.text({}, inner[k]) for k, a in zip(keys, self.given(), strict=True)]
        return f"{self.frame.prefix}_{self.name}({', '.join([*args, *self._carried()]) or 'void'})"

    def prototype(self, spelled: Mapping[str, str], name: str = "") -> str:
        """The line of the header; `name`: of another function with the same arguments."""
        args = [*(a.text(spelled) for a in self.given()), *self._carried()]
        return f"{self.frame.returns} {self.frame.prefix}_{name or self.name}({', '.join(args) or 'void'});"

    def _carried(self) -> list[str]:
        return [f"{self.frame.prefix}_carry *carry"] if self.frame.cut is not None else \
            [f"{self.frame.prefix}_memory *memory"] if self.frame.steps is not None else []

    # ------------------------------------------------------------ arrays

    def _place(self, a: Array, key: str) -> Iterator[str]:
        """Where an array is: parameters and gradients by name, inputs as they are given, others in the workspace."""
        name, e, prefix = self.c_names[a], self.values.get(a), self.frame.prefix
        if isinstance(e, Param) and a.role == "param":
            yield self._named(a, f"{prefix}_params.{word(e.name)}")
        elif key in self.frame.held:
            yield self._named(a, f"{self.frame.held[key]}next_")
        elif a.role == "result":
            field_ = f"{prefix}_grads.{word(key if key in self.system.stats else key.removeprefix('d_'))}"
            yield f"{INDENT}{declaration(a, name)} = {'' if a.dims else '&'}{field_};"
        elif a.role == "input":
            yield from self._input(a, e, name)
        else:
            slot = next(i for i, x in self.plan.arrays() if x is a)
            dims = "".join(f"[{length(n)}]" for n in a.dims)
            yield f"{INDENT}{declaration(a, name)} = (void *){self.frame.slots[slot]};".ljust(68) + f"/* {dims} */"

    def _named(self, a: Array, source: str) -> str:
        """An array under its name in the function; of a number, its value."""
        kind = CTYPES.get(a.kind, "real")
        return f"{INDENT}{declaration(a, self.c_names[a])} = {source};" if a.dims else \
            f"{INDENT}const {kind} {self.c_names[a]} = {source};"

    def _input(self, a: Array, e: Expr | None, name: str) -> Iterator[str]:
        assert isinstance(e, Input)
        cut = self.frame.cut
        slot = next((x for x in cut.slots if x.node is e), None) if cut is not None else None
        if e is FIRST:
            yield f"{INDENT}const bool {name} = !carry->begun;"
        elif cut is not None and e is cut.offset:
            yield f"{INDENT}const real {name} = (real)carry->{cut.axis};"
        elif slot is not None:
            yield self._named(a, f"before_.{word(slot.key)}")
        elif self.frame.steps is not None and e is self.frame.steps.carry.get(e.name):
            own = f"remembered_.{word(e.name)}"
            yield f"{INDENT}const real {name} = (real){own};" if e.name == self.frame.steps.axis else self._named(a, own)
        elif e.name in self.frame.held:
            yield self._named(a, self.frame.held[e.name])
        elif turned(e):
            yield self._named(a, by_time(e.name))

    # ------------------------------------------------------------ before

    def _before(self) -> Iterator[str]:
        """The seed, the carry, checks."""
        prefix, cut = self.frame.prefix, self.frame.cut
        if any(isinstance(s, Draw) for s in flat(self.function.body)):
            yield f"{INDENT}const int64_t seed = (int64_t){prefix}_state.seed, step = {prefix}_state.step;"
        inner = self.inner()
        for k in self.frame.inputs:
            if k not in self.frame.held and not any(isinstance(e, Input) and e.name == k for e in self.values.values()):
                yield f"{INDENT}(void){inner[k]};"
        failed = "return NAN" if self.frame.returns == "real" else "return false"
        for condition in self.frame.checks:
            yield f"{INDENT}if ({condition}) {failed};"
        if self.frame.steps is not None and self.name == "step":
            yield f"{INDENT}remembered_ = *memory;"
        if cut is None:
            return
        if cut.slots:
            yield f"{INDENT}if (!carry->begun) begin_(carry);"
            nodes = [x.node for x in cut.slots]
            if any(self.values.get(a) in nodes for a in self.arrays()):
                yield f"{INDENT}before_ = *carry;"
        if any(isinstance(s, Draw) and s.along in self.offsets for s in flat(self.function.body)):
            yield f"{INDENT}const int64_t offset_{cut.axis} = carry->{cut.axis};"

    def _turned(self) -> Iterator[str]:
        """Inputs, which come example by example, step by step."""
        inner = self.inner()
        for a, e in self.values.items():
            if isinstance(e, Input) and e.name in self.frame.inputs and turned(e) and a in self.arrays():
                axes = self.printed.indices(outward(e))
                line = f"{self.c_names[a]}{brackets(inside(e, axes))} = {inner[e.name]}{brackets(axes)};"
                yield from (INDENT + x for x in loops([*zip(axes, outward(e), strict=True)], [line]))

    # ------------------------------------------------------------ after

    def _after(self) -> Iterator[str]:
        """Outputs, the carry, the result."""
        inner, results = self.inner(), self.function.results
        for k, e in self.frame.outputs.items():
            axes = self.printed.indices(outward(e))
            value = self.printed(results[k], inside(e, axes)) if k in results else constant(self.function.numbers[k])
            target = f"{inner[k]}{brackets(axes)}" if e.dims else f"*{inner[k]}"
            yield from (INDENT + x for x in loops([*zip(axes, outward(e), strict=True)], [f"{target} = {value};"]))
        cut = self.frame.cut
        if cut is not None:
            for k, v in self.function.carry.items():
                axes = self.printed.indices(v.dims)
                line = f"carry->{word(k)}{brackets(axes)} = {self.printed(v, axes)};"
                yield from (INDENT + x for x in loops([*zip(axes, v.dims, strict=True)], [line]))
            yield from ([f"{INDENT}carry->{cut.axis} += {axis_length(cut.axis)};"] if cut.numbered else [])
            yield f"{INDENT}carry->begun = true;"
        for k, name in self.frame.stores.items():
            yield from (INDENT + x for x in self._stored(k, name))
        steps = self.frame.steps
        if steps is not None and steps.axis in steps.carry:
            yield f"{INDENT}memory->{steps.axis} {'+= 1' if self.name == 'step' else '= 0'};"
        if self.frame.returns == "real":
            value = self.printed(results["loss"]) if "loss" in results else constant(self.function.numbers["loss"])
            yield f"{INDENT}return {value};"
        elif self.frame.returns == "bool":
            yield f"{INDENT}return true;"


    def _stored(self, key: str, name: str) -> Iterator[str]:
        """What the next step reads."""
        e, steps = self.layout.plan.roots.get(name), self.frame.steps
        assert steps is not None
        if key == steps.axis:
            return
        axes = self.printed.indices(steps.carry[key].dims)
        value = self.printed(self.function.results[name], axes) if name in self.function.results else \
            constant(self.function.numbers[name] if e is None else e)
        line = f"memory->{word(key)}{brackets(axes)} = {value};"
        yield from loops([*zip(axes, steps.carry[key].dims, strict=True)], [line])


def begin(slots: Sequence[Slot], prefix: str) -> str:
    """The C function that fills a carry with the declared values."""
    lines = [f"static void begin_({prefix}_carry *carry)", "{"]
    for x in slots:
        base: Expr = x.init
        while isinstance(base, Broadcast):
            base = base.args[0]
        value = f"{prefix}_params.{word(base.name)}" if isinstance(base, Param) else constant(base)
        axes = [f"i{k}" for k in range(len(x.node.dims))]
        if isinstance(base, Param):
            value += brackets(axes[len(axes) - len(base.shape):])
        target = f"carry->{word(x.key)}" + brackets(axes)
        lines += [INDENT + y for y in loops([*zip(axes, x.node.dims, strict=True)], [f"{target} = {value};"])]
    return "\n".join([*lines, "}"]) + "\n"


# ---------------------------------------------------------------- words

def word(name: str) -> str:
    """A name of the model's in C: `h.W` -> h_W, `h[-1]` -> h_before, `β` -> beta."""
    found = "".join(_letter(c) for c in identifier(slot_name(name)))
    return f"{found}_" if found in KEYWORDS else found if found[:1].isalpha() else f"v{found}"


def _letter(c: str) -> str:
    """A letter as C can write it; one that is not Latin by its name."""
    if c.isascii() or not c.isalpha():
        return c if c.isascii() and c.isalnum() else "_"
    name = unicodedata.name(c, "_").split(" WITH ")[0].split(" ")[-1]
    return (name.capitalize() if c.isupper() else name.lower()).replace("amda", "ambda")


def by_time(key: str) -> str:
    """The array of the file in which an input stands step by step."""
    return f"{word(key)}_by_time_"


def constant(e: Expr) -> str:
    """A constant of the graph, or a length."""
    while isinstance(e, Broadcast):
        e = e.args[0]
    if isinstance(e, Extent):
        return f"(real)({length(e.size)})"
    return number(e.value).text if isinstance(e, Const) else "0"


def length_text(n: Size, spelled: Mapping[str, str]) -> str:
    """A size where its symbols have other names, or are numbers."""
    return n.format(dict(spelled)).replace("//", "/") if spelled else length(n)


def turned(e: Input) -> bool:
    """Whether an input stands otherwise inside: along time first, then along the batch."""
    return len(e.axes) > 1 and BATCH in e.axes


def outward(e: Expr) -> tuple[Size, ...]:
    """The caller's dims: the batch first."""
    return (*(axis_length(x) for x in sorted(e.axes, key=lambda x: x != BATCH)), *e.shape)


def brackets(axes: Sequence[str]) -> str:
    return "".join(f"[{i}]" for i in axes)


def inside(e: Expr, axes: Sequence[str]) -> list[str]:
    """The index in the file's order, from that in the caller's."""
    order = sorted(e.axes, key=lambda x: x != BATCH)
    return [*(axes[order.index(x)] for x in e.axes), *axes[len(order):]]


__all__ = ["Argument", "Frame", "StandaloneFunction", "begin", "by_time", "length_text", "outward", "turned", "word"]
