"""What names stand for while a model is elaborated, and the one place through which mistakes are reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn
from unicodedata import normalize

from ...compiler.graph import BATCH, Expr, length
from ...compiler.node import shown
from ...compiler.sizes import Size
from ...compiler.system import Span, System
from ...compiler.units import Units
from . import syntax as s
from .diagnostics import Diagnostic, Note, Source, did_you_mean

ARRIVING = "the gradient that arrives"                   # what `d_h` is in `on_backward h[t]: ...`


class Poisoned(Exception):
    """A value that does not exist because of a mistake that has been reported: nothing more is said about it."""


class Unknown(Exception):
    """A value inside a cycle whose shape is not known yet."""


@dataclass(eq=False)
class Binding:
    """What a name stands for, and where it was declared."""

    source: Source
    node: s.Node
    what: str = "name"

    @property
    def span(self) -> Span:
        return self.source.span(self.node.start, self.node.end)


@dataclass(eq=False)
class SizeName(Binding):
    """A size; None while the argument that it is read off is not known yet."""

    size: Size | None = None


@dataclass(eq=False)
class AxisName(Binding):
    axis: str = ""


@dataclass(eq=False)
class Value(Binding):
    """A value and the time axes that must be written when it is read; without an expression it is not known yet."""

    expr: Expr | None = None
    axes: tuple[str, ...] = ()
    assigned: bool = True


@dataclass(eq=False)
class Lost(Binding):
    """A declaration with a mistake."""


@dataclass(eq=False)
class Family(Binding):
    """h[0], h[1], ...: the members that `repeat` and indexed equations declare."""

    name: str = ""
    members: dict[int, str] = field(default_factory=dict)


@dataclass(eq=False)
class Equation(Binding):
    """One target of an equation; `group` are all targets of it."""

    name: str = ""                                       # in the scope
    full: str = ""                                       # in the system
    item: s.Item | None = None
    scope: Scope | None = None
    axes: tuple[str, ...] = ()
    shape: tuple[Size, ...] | None = None
    group: list[Equation] = field(default_factory=list)
    component: list[Equation] = field(default_factory=list)
    cyclic: bool = False
    guessed: bool = False
    state: str = "todo"                                  # todo | doing | done | lost
    dims: tuple[tuple[str, ...], tuple[Size, ...]] | None = None      # what a Ref to it has
    referred: bool = False
    along: Any = None                                    # of a cycle's first member: its first delay (axis, steps, scope, node)
    expr: Expr | None = None


@dataclass(eq=False)
class Macro(Binding):
    """`def f(x, a = 1) = ...`"""

    define: s.Define | None = None
    scope: Scope | None = None


@dataclass(eq=False)
class FragmentName(Binding):
    fragment: s.Fragment | None = None
    scope: Scope | None = None


@dataclass(eq=False)
class Instance(Binding):
    """`cell = lstm(H)`: every call of it shares its parameters."""

    of: FragmentName | None = None
    given: dict[str, s.Argument] = field(default_factory=dict)
    scope: Scope | None = None
    full: str = ""


@dataclass(eq=False)
class Alias(Binding):
    """An argument that is a function: `dense(x, H, relu)`."""

    f: str = ""
    scope: Scope | None = None


@dataclass(eq=False)
class Scope:
    """Names, looked up outwards; `owner` is the scope of the model or fragment instance that it belongs to."""

    source: Source
    path: str = ""                                       # of the instance: a prefix of its equations' names
    owned: str = ""                                      # prefix of its parameters' names
    outer: Scope | None = None
    names: dict[str, Binding] = field(default_factory=dict)
    bounds: dict[str, list[tuple[s.Bound, Scope]]] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)             # local result -> name in the system
    reverse: bool = False
    hidden: bool = False                                 # a fragment: values may carry axes that are not written
    calls: tuple[str, ...] = ()                          # the fragments and defs being called, against recursion
    inner: bool = False                                  # a repeat's scope, or a range's
    within: dict[str, tuple[int, int]] = field(default_factory=dict)  # axis -> how far from its start and its end a range stays

    @property
    def owner(self) -> Scope:
        scope = self
        while scope.inner and scope.outer is not None:
            scope = scope.outer
        return scope

    def find(self, name: str) -> Binding | None:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return None

    def visible(self) -> Iterator[str]:
        scope: Scope | None = self
        while scope is not None:
            yield from scope.names
            scope = scope.outer

    def axes(self) -> dict[str, str]:
        """Time axes by the name that they have here."""
        found: dict[str, str] = {}
        for name in self.visible():
            binding = self.find(name)
            if isinstance(binding, AxisName):
                found.setdefault(name, binding.axis)
        return found

    def member(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name


@dataclass
class Frame:
    """The equation being elaborated: what is drawn or called inside it is called after it."""

    name: str
    equation: Equation | None = None
    calls: dict[str, int] = field(default_factory=dict)
    draws: int = 0


@dataclass
class Context:
    """The system as it grows, the mistakes so far, and the equations in progress."""

    system: System
    diagnostics: list[Diagnostic] = field(default_factory=list)
    quiet: int = 0
    frames: list[Frame] = field(default_factory=list)
    watched: dict[str, s.Surgery] = field(default_factory=dict)       # equations whose gradients are changed
    components: list[list[Equation]] = field(default_factory=list)    # cycles whose shapes are being found
    places: dict[Expr, tuple[Source, s.Node]] = field(default_factory=dict)
    assumed: dict[Expr, None] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    choices: set[Expr] = field(default_factory=set)                   # places of maxima, which a loss may be computed from
    header: s.Header | None = None
    layers: list[Units] = field(default_factory=list)                 # of an energy model
    estimator: tuple[Source, s.Node] | None = None                    # of an energy model, where it stands

    @property
    def energy(self) -> bool:
        """Whether the file holds an energy model."""
        return self.header is not None and self.header.keyword == "energy"

    @property
    def guessing(self) -> bool:
        return self.quiet > 0

    def report(self, scope: Scope, node: s.Node, message: str, *notes: tuple[Binding | None, str],
               hint: str | None = None) -> None:
        if self.quiet:
            return
        span = scope.source.span(node.start, node.end)
        told = tuple(dict.fromkeys(Note(b.span, text, b.source.line(b.span.line)) for b, text in notes if b is not None))
        self.diagnostics.append(Diagnostic(span, message, told, hint, scope.source.line(span.line)))

    def fail(self, scope: Scope, node: s.Node, message: str, *notes: tuple[Binding | None, str],
             hint: str | None = None) -> NoReturn:
        self.report(scope, node, message, *notes, hint=hint)
        raise Poisoned

    def declare(self, scope: Scope, name: str, binding: Binding, hint: str | None = None) -> bool:
        """Bind a name; False, with a report, where it is taken."""
        old = scope.names.get(name)
        if old is not None and not isinstance(old, Lost):
            self.report(binding_scope(scope, binding), binding.node, f"`{name}` is declared twice",
                        (old, "the first declaration is here"), hint=hint or "choose another name")
            return False
        scope.names[name] = binding
        return True

    def place(self, e: Expr, scope: Scope, node: s.Node) -> None:
        """Remember where a node was written; what the library wrote is remembered as its call."""
        known = self.places.get(e)
        if not self.quiet and (known is None or known[0].file.startswith("library/")):
            self.places[e] = (scope.source, node)

    def size_text(self, size: Size) -> str:
        """`D = 784` for a declared size, `H + V = 193` for a sum, `10` for a number, `T` for a length."""
        if size.value is not None:
            return str(size.value)
        try:
            return f"{size} = {size.evaluate(self.system.sizes)}"
        except (KeyError, OverflowError):
            return str(size)

    def shape_text(self, e: Expr) -> str:
        """[t, H] as it would be declared; a number for neither."""
        inner = [*(shown(a) for a in e.axes if a != BATCH), *map(str, e.shape)]
        kind = f" of {e.type}" if e.type.kind != "real" else ""
        return (f"[{', '.join(inner)}]" if inner else "one value") + kind

    def number(self, size: Size) -> int | None:
        try:
            return size.evaluate(self.system.sizes)
        except (KeyError, OverflowError):
            return None


def binding_scope(scope: Scope, binding: Binding) -> Any:
    """A scope whose source is the binding's."""
    return scope if scope.source is binding.source else Scope(binding.source)


def legal_word(ctx: Context, scope: Scope, node: s.Node, name: str) -> None:
    """Refuses names that Python would read otherwise than they are written, and those with two underscores in front."""
    if name.startswith("__"):
        ctx.fail(scope, node, f"`{name}` cannot be a name: names do not start with two underscores")
    if len(name) > 100:
        ctx.fail(scope, node, "a name has at most 100 letters")
    if normalize("NFKC", name) != name or not all(p.isidentifier() or p.isascii() for p in name.split(".")):
        ctx.fail(scope, node, f"`{name}` cannot be a name: Python would read it as `{normalize('NFKC', name)}`",
                 hint="use plain letters, digits and underscores")


def suggest(word: str, scope: Scope, more: Iterable[str] = (), also: str = "") -> str | None:
    return did_you_mean(word, [*scope.visible(), *more], also)


def text_of(scope: Scope, node: s.Node, most: int = 40) -> str:
    """What stands in the text, on one line and not too long."""
    text = " ".join(scope.source.text[node.start:node.end].split())
    return text if len(text) <= most else text[:most - 3] + "..."


def axis_length(scope: Scope, name: str) -> Size | None:
    """T for a time axis t that the scope knows, B for the batch."""
    if name == "B":
        return length(BATCH)
    for axis, actual in scope.axes().items():
        if axis.upper() == name and axis != name:
            return length(actual)
    return None
