"""The later stages as text: the schedule, the program, the memory plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...compiler.formulas import arrivals, formula
from ...compiler.graph import BATCH, Const, Expr, Extent, Input, Param
from ...compiler.passes.schedule import Schedule
from ...compiler.pipeline import Compiled
from ...compiler.program import (
    Along,
    Block,
    Call,
    Copy,
    Draw,
    Fill,
    Hot,
    Kernel,
    Literal,
    Load,
    Loop,
    Nest,
    Pick,
    Product,
    Reduction,
    Scalar,
    Scatter,
    SizeOf,
    Step,
    Stmt,
    Take,
    View,
)
from ...compiler.system import System
from .convolutions import ways

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==", "ne": "!="}


# ---------------------------------------------------------------- schedule

def schedule_text(compiled: Compiled) -> str:
    """For each function: what is computed for all steps at once, and what in which loop, in order."""
    parts = []
    for name, lay in compiled.layouts.items():
        part = compiled.parts.get(name, compiled)                # of an energy model each function has a system of its own
        system = part.differentiated if name in ("gradients", "statistics") else part.evaluated
        assert system is not None
        parts.append("\n".join([f"{name}:", *_steps(lay.plan, system), *ways(lay.plan, system)]))
    return "\n\n".join(parts)


def _steps(plan: Schedule, system: System) -> Iterator[str]:
    done: set[int] = set()
    for e in plan.order:
        loop = plan.loop[e]
        if loop is None:
            if _worth(e, plan, system):
                yield "    " + _line(e, system)
        elif plan.loops.index(loop) not in done:
            done.add(plan.loops.index(loop))
            length = loop.axis.upper()
            way = f"{loop.axis} = 0, ..., {length}-1" if loop.direction > 0 else f"{loop.axis} = {length}-1, ..., 0"
            yield f"    for {way}:"
            yield from ("        " + _line(m, system) for m in plan.order if plan.loop[m] is loop and _worth(m, plan, system))


def _worth(e: Expr, plan: Schedule, system: System) -> bool:
    """Named nodes and roots; leaves say nothing."""
    return not isinstance(e, Const | Extent | Input | Param) and (e in system.names or e in plan.roots.values())


def _line(e: Expr, system: System) -> str:
    name = system.names.get(e) or next((k for k, r in system.equations.items() if r is e), "result")
    times = [a for a in e.axes if a != BATCH]
    left = name.rstrip("*") + (f"[{', '.join(times)}]" if times else "")
    return f"{left} = {formula(e, system.names, limit=60, inline=arrivals(system))}"


# ---------------------------------------------------------------- program

def program_text(program: Any) -> str:
    """The statements of every function, with the names that a backend's printer gives."""
    parts = []
    for printer in program.printers.values():
        function = printer.function
        lines = [f"{function.name}({', '.join(function.inputs)}):"]
        lines += [f"    {line}" for s in function.body for line in statement_lines(s)]
        lines += [f"    return {', '.join(f'{k} = {_view(v)}' for k, v in function.results.items())}"]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def statement_lines(s: Stmt) -> Iterator[str]:
    """A statement in a notation of its own, what it holds indented below."""
    match s:
        case Block(body=body):
            for inner in body:
                yield from statement_lines(inner)
        case Loop(axis=axis, reverse=reverse, body=body):
            yield f"loop {axis} {'backwards' if reverse else 'forwards'}:"
            for inner in body:
                yield from (f"    {line}" for line in statement_lines(inner))
        case Nest(rows=rows, body=body):
            yield f"loop over {', '.join(map(str, rows))}:"
            for inner in body:
                yield from (f"    {line}" for line in statement_lines(inner))
        case Product(out=out, a=a, b=b, la=la, lb=lb, lo=lo):
            labels = ", ".join("".join(map(str, x)) for x in (la, lb, lo))
            yield f"{_view(out)} = product({_view(a)}, {_view(b)}; {labels})"
        case Kernel(out=out, body=body):
            yield f"{_view(out)} = {_scalar(body)}"
        case Reduction(kind=kind, out=out, a=a, over=over):
            yield f"{_view(out)} = {kind}({_view(a)} over {', '.join(map(str, over))})"
        case Take() | Pick() | Scatter() | Fill() | Copy() | Draw():
            values = [getattr(s, k) for k in s.__match_args__[1:]]
            words = [_view(v) if isinstance(v, View) else str(v) for v in values if v not in (None, (), "")]
            yield f"{_view(s.out)} = {type(s).__name__.lower()}({', '.join(words)})"
        case _:
            yield type(s).__name__.lower()


def _view(v: View) -> str:
    name = v.array.name or "tmp"
    if v.whole:
        return name
    places = []
    for k, along in enumerate(v.along):
        if isinstance(along, Along):
            whole = along.offset == 0 and v.dims[along.dim] == v.array.dims[k]
            places.append(":" if whole else f"{along.offset}:{along.offset + v.dims[along.dim]}")
        else:
            places.append(f"{along.axis or ''}{along.offset:+d}".removesuffix("+0") or "0")
    return f"{name}[{', '.join(places)}]" if places else name


def _scalar(s: Scalar) -> str:
    match s:
        case Literal(value=value):
            return str(value)
        case SizeOf(size=size):
            return str(size)
        case Load(view=v):
            return _view(v)
        case Hot(view=v):
            return f"hot({_view(v)})"
        case Step(axis=axis):
            return axis
        case Call(f=f, args=args):
            words = [_scalar(a) for a in args]
            return f"({words[0]} {INFIX[f]} {words[1]})" if f in INFIX else f"{f}({', '.join(words)})"
    return str(s)


# ---------------------------------------------------------------- memory

def memory_text(program: Any) -> str:
    """The memory plan as a table: which values share which buffer, and when each is needed."""
    parts = []
    for name in program.printers:
        rows = [("buffer", "value", "shape", "statements")]
        last = None
        for value, shape, slot, first, final in program.memory_plan(name):
            rows.append((str(slot) if slot != last else "", value, shape, f"{first}-{final}"))
            last = slot
        widths = [max(len(r[k]) for r in rows) for k in range(4)]
        table = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)).rstrip() for r in rows]
        parts.append("\n".join([f"{name}:", *(f"    {line}" for line in table)]))
    return "\n\n".join(parts)
