"""Names for pre-activations: where v = f(u) and u has no name, u is called `a_v`, so that its adjoint is `d_a_v`."""

from __future__ import annotations

from ..formulas.idioms import softmax_of
from ..graph import Contract, Expr, Map, Move, Slice
from ..ops import PRIMITIVES
from ..system import System

PLAIN = ("neg", "not", "real", "square", "sqrt")         # functions that nobody calls an activation


def name_preactivations(system: System) -> System:
    """The system with `a_v` as the name of the sum or product that an equation v applies a function to."""
    out = system.copy()
    taken = {*out.names.values(), *out.equations, *out.params, *out.inputs, *out.sizes}
    for name, e in system.equations.items():
        u = _operand(e, out)
        if u is not None and u not in out.names and f"a_{name}" not in taken:
            out.names[u] = f"a_{name}"
    for e, name in list(out.names.items()):                      # of v = f(a[:n]): the slice
        u = e.args[0] if isinstance(e, Map) and PRIMITIVES[e.f].arity == 1 and e.f not in PLAIN else None
        cut = isinstance(u, Slice) and u not in out.names and u.args[0] in out.names
        if u is not None and cut and f"a_{name}" not in taken:
            out.names[u] = f"a_{name}"
    return out


def _operand(e: Expr, system: System) -> Expr | None:
    while isinstance(e, Move) and e not in system.names:
        e = e.args[0]
    if not isinstance(e, Map) or PRIMITIVES[e.f].arity != 1 or e.f in PLAIN:
        return None
    u = e.args[0]
    summed = isinstance(u, Contract) or (isinstance(u, Map) and u.f in ("add", "sub", "mul", "div"))
    return u if summed and softmax_of(e, lambda x: x in system.names) is None else None
