"""What a legal system is. Run after every pass in tests; the error names the node, and the pass that went before.

1. Every node is interned, and building it again from its operands gives the same node: its sizes and type follow from theirs.
2. Every parameter, stat and input is declared as the node that stands in the graph.
3. Every reference names an equation of its own axes, shape and type, and closes a cycle.
4. Every cycle passes through a delay; the delays of one component run along one axis, in one direction, and everything in the
   component has that axis (no last step, no sum over time, no frozen sequence inside a recurrence).
5. Names are words, or words joined by dots. Losses, metrics and their counts are scalars; outputs and targets exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from .graph import Const, Expr, Extent, GraphError, Index, Input, Noise, Param, Ref, Shift, describe
from .reach import reached
from .system import Average, System

NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*|\.\d+)*")


class VerifyError(GraphError):
    """A system that breaks a rule."""


def verify(system: System, after: str = "construction", roots: Sequence[Expr] = ()) -> System:
    """The system itself, if it is legal; `after` names the pass that made it. VerifyError otherwise."""
    try:
        nodes, _ = reached(system, (*system.roots(), *roots))
        for n in nodes:
            _interned(n)
            _declared(system, n)
        _names(system)
        _scalars(system)
        _references(system, nodes)
        for component in components(system, nodes):
            _recurrence(system, component)
    except GraphError as error:
        raise VerifyError(f"after {after}: {error}") from None
    return system


def say(system: System, n: Expr) -> str:
    """A node in words: its name or its kind, and its dims."""
    name = system.names.get(n) or getattr(n, "name", None)
    kind = type(n).__name__ + (f" {n.f}" if hasattr(n, "f") else "")
    return f"{name} = {kind} {describe(n)}" if name else f"{kind} {describe(n)}"


# ---------------------------------------------------------------- nodes

def _interned(n: Expr) -> None:
    if Expr._table.get(n._key) is not n:  # type: ignore[attr-defined]
        raise VerifyError(f"{type(n).__name__} {describe(n)} is not interned")
    try:
        again = n._rebuild(n.args) if n.args else _leaf(n)
    except GraphError as error:
        raise VerifyError(f"{type(n).__name__} {describe(n)} does not follow from its operands: {error}") from None
    if again is not n:
        raise VerifyError(f"{type(n).__name__} {describe(n)} is {type(again).__name__} {describe(again)} when built again")


def _leaf(n: Expr) -> Expr:
    """A leaf built from its own fields."""
    build: Any = type(n)
    fields = {"type": n.type} if isinstance(n, (Input, Ref)) else {}
    if isinstance(n, (Input, Ref)):
        return build(n.name, n.axes, n.shape, **fields)  # type: ignore[no-any-return]
    if isinstance(n, Noise):
        return Noise(n.kind, n.key, n.axes, n.shape)
    if isinstance(n, Param):
        return Param(n.name, n.shape)
    if isinstance(n, (Const, Extent, Index)):
        return build(getattr(n, type(n).__match_args__[0]))  # type: ignore[no-any-return]
    raise VerifyError(f"{type(n).__name__} has no operands")


def _declared(system: System, n: Expr) -> None:
    if isinstance(n, Param):
        found: Any = system.params.get(n.name) or system.stats.get(n.name)
        if found is None:
            raise VerifyError(f"the parameter {n.name} is not declared")
        if found.node is not n:
            raise VerifyError(f"the parameter {n.name} is {describe(n)}, declared as {describe(found.node)}")
    arriving = any(n is placeholder for placeholder, _ in system.surgery.values())
    if isinstance(n, Input) and not arriving and not (system.feedback is not None and n.name in system.feedback.free):
        if n.name not in system.inputs:
            raise VerifyError(f"the input {n.name} is not declared")
        if system.inputs[n.name] is not n:
            raise VerifyError(f"the input {n.name} is {describe(n)}, declared as {describe(system.inputs[n.name])}")


def _names(system: System) -> None:
    kinds: dict[str, str] = {}
    for kind, names in (("a parameter", system.params), ("a stat", system.stats), ("an input", system.inputs)):
        for name in names:
            if name in kinds:
                raise VerifyError(f"{name} is {kinds[name]} and {kind}")
            kinds[name] = kind
    for name in (*kinds, *system.equations, *system.metrics, *system.names.values()):
        if not NAME.fullmatch(name):
            raise VerifyError(f"{name!r} is no name")
    for name in system.targets:
        if name not in system.inputs:
            raise VerifyError(f"the target {name} is no input")
    for name in system.outputs:
        if name not in system.equations:
            raise VerifyError(f"the output {name} is no equation")
    for name, (placeholder, e) in system.surgery.items():
        if (e.axes, e.shape) != (placeholder.axes, placeholder.shape):
            raise VerifyError(f"on_backward {name} makes {describe(e)} of {describe(placeholder)}")


def _scalars(system: System) -> None:
    averages: dict[str, Average] = {**({"loss": system.loss} if system.loss else {}), **system.metrics}
    for name, average in averages.items():
        for part, e in (("total", average.total), ("count", average.count)):
            if e.dims:
                raise VerifyError(f"the {part} of {name} is {describe(e)}, not a scalar")


# ---------------------------------------------------------------- cycles

def _edges(system: System, n: Expr) -> tuple[Expr, ...]:
    return (system.equations[n.name],) if isinstance(n, Ref) else n.args


def components(system: System, nodes: Sequence[Expr]) -> list[list[Expr]]:
    """The strongly connected components that hold a cycle, each in the order of `nodes`."""
    import networkx as nx

    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(nodes)))
    place = {n: i for i, n in enumerate(nodes)}
    graph.add_edges_from((place[n], place[a]) for n in nodes for a in _edges(system, n))
    found = (sorted(c) for c in nx.strongly_connected_components(graph))
    return [[nodes[i] for i in c] for c in sorted(found) if len(c) > 1 or graph.has_edge(c[0], c[0])]


def _references(system: System, nodes: Sequence[Expr]) -> None:
    cyclic = {n for c in components(system, nodes) for n in c}
    for n in nodes:
        if not isinstance(n, Ref):
            continue
        e = system.equations[n.name]
        if (e.axes, e.shape, e.type) != (n.axes, n.shape, n.type):
            raise VerifyError(f"a reference to {n.name} as {describe(n)}, which is {describe(e)}")
        if n not in cyclic:
            raise VerifyError(f"a reference to {n.name} closes no cycle: the expression itself should stand there")


def _recurrence(system: System, component: Sequence[Expr]) -> None:
    """One axis, one direction, no cycle without a delay."""
    inside = {*component}
    delays = [n for n in component if isinstance(n, Shift) and n.args[0] in inside]
    rest = {n: [a for a in _within(system, n, inside) if not (isinstance(n, Shift) and a is n.args[0])] for n in component}
    cycle = _cycle(component, rest)
    if cycle:
        raise VerifyError(f"a cycle without a delay: {_path(system, cycle)}")
    axes = list(dict.fromkeys(n.axis for n in delays))
    if len(axes) > 1:
        raise VerifyError(f"a recurrence along {' and '.join(axes)}: {_path(system, component)}")
    for n in component:
        if axes[0] not in n.axes:
            raise VerifyError(f"{say(system, n)} stands in a recurrence along {axes[0]} and has no such axis: "
                              f"{_path(system, component)}")
    if len({n.s > 0 for n in delays}) > 1:
        raise VerifyError(f"a recurrence that reads the past and the future: {_path(system, component)}")


def _within(system: System, n: Expr, inside: set[Expr]) -> Iterator[Expr]:
    return (a for a in _edges(system, n) if a in inside)


def _cycle(component: Sequence[Expr], edges: dict[Expr, list[Expr]]) -> list[Expr]:
    """A cycle of these edges, as its nodes in reading order; empty where there is none."""
    done: set[Expr] = set()
    for start in component:
        path: list[Expr] = []
        stack: list[tuple[Expr, int]] = [(start, 0)]
        while stack:
            n, k = stack.pop()
            if k == 0:
                if n in path:
                    return path[path.index(n):]
                if n in done:
                    continue
                path.append(n)
            if k < len(edges[n]):
                stack.extend(((n, k + 1), (edges[n][k], 0)))
            else:
                done.add(path.pop())
    return []


def _path(system: System, nodes: Sequence[Expr]) -> str:
    """The named equations among the nodes, as who reads whom."""
    words = [f"{w}[{n.axis}{n.s:+d}]" if isinstance(n, Shift) and w else w
             for n in nodes for w in [_word(system, n.args[0] if isinstance(n, Shift) else n)] if w]
    words = list(dict.fromkeys(words))
    return " -> ".join([*words, words[0]]) if words else " -> ".join(type(n).__name__ for n in nodes)


def _word(system: System, n: Expr) -> str | None:
    return n.name if isinstance(n, Ref) else system.names.get(n)
