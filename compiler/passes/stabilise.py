"""Stabilise: naive forms are replaced by stable ones before anything is differentiated.

    exp(s)/sum(exp(s))     ->  exp(s - logsumexp(s))         log(softmax(s))  ->  s - logsumexp(s)
    1/(1 + exp(-x))        ->  sigmoid(x)                    log(1 + exp(x))  ->  softplus(x)

A pattern is found through delays, steps, slices and transposes: f(shift(a, a0)) is tried as shift(f(a), f(a0)). It is found
through a recurrence's closing edge, too: the logarithm of an equation p that is only read as Ref(p) becomes an equation log_p.

The value never changes where the naive form is exact, to rounding; infinities and NaN that only the naive form has go.
"""

from __future__ import annotations

from collections.abc import Callable

from ..algebra import Rewriter, Rule, Table, number, structure
from ..graph import At, Broadcast, Expr, Flip, Freeze, Map, Ref, Reshape, Shift, Slice, Thaw, Transpose
from ..system import System
from .exponents import Exponents
from .guard_rules import GUARD_RULES
from .moment_rules import MOMENT_RULES
from .scalar_rules import SCALAR_RULES
from .stable_rules import OPAQUE, PATTERNS, STABLE, exponential_rules
from .structure_rules import STRUCTURE_RULES

ROUNDS = 5                                               # each closing edge that a logarithm passes costs one
DEEPEST = 6
MOVES = (Shift, At, Slice, Transpose, Flip, Freeze, Thaw, Reshape)


def stable_table(reference: Callable[[Ref], Expr | None] = lambda ref: None) -> Table:
    """Every rule that stabilises, and those that bring formulas to the form in which they are recognised."""
    ex = Exponents(reference)
    stable = (*PATTERNS, *exponential_rules(ex), *OPAQUE, *MOMENT_RULES, *GUARD_RULES)
    local = Table(stable)
    return Table((*SCALAR_RULES, *STRUCTURE_RULES, _through_moves(local), *stable))


def stabilise_exprs(exprs: list[Expr]) -> list[Expr]:
    """Expressions without closing edges, stabilised."""
    return Rewriter(stable_table()).all(exprs)


def stabilise(system: System) -> System:
    """The system with naive forms replaced; what was replaced stands in `notes`."""
    for _ in range(ROUNDS):
        wanted: dict[str, Ref] = {}
        current = system

        def logarithm(ref: Ref, now: System = current, wanted: dict[str, Ref] = wanted) -> Expr | None:
            return _logarithm(ref, now, wanted)

        rewriter = Rewriter(stable_table(logarithm))
        roots = rewriter.all(system.roots())
        changed = list(system.roots()) != roots
        system = system.mapped(rewriter.memo)
        _note(system, rewriter)
        for name, ref in wanted.items():
            _add_logarithm(system, name, ref)
        if not changed and not wanted:
            break
    return system


def _logarithm(ref: Ref, system: System, wanted: dict[str, Ref]) -> Expr | None:
    """log of an equation that is read through a closing edge, as a reference to an equation of its own."""
    name = f"log_{ref.name}"
    u = Exponents().of(system.equations[ref.name]) if ref.name in system.equations else None
    if u is None or system.equations.get(name, u) is not u:      # no exponential, or the user's own name
        return None
    if name not in system.equations:
        wanted[name] = ref
    return Ref(name, ref.axes, ref.shape)


def _add_logarithm(system: System, name: str, ref: Ref) -> None:
    u = Exponents().of(system.equations[ref.name])
    assert u is not None
    system.equation(name, u)


def _note(system: System, rewriter: Rewriter) -> None:
    """What fired, written to the node that finally stands there."""
    for firing in rewriter.fired:
        if firing.rule.note:
            node, text = rewriter.memo[firing.after], f"{firing.rule.note}: {firing.rule.text}"
            if text not in (notes := system.notes.get(node, ())):
                system.notes[node] = (*notes, text)


# ---------------------------------------------------------------- through moves

def _through_moves(table: Table) -> Rule:
    """f(move(a)) -> move(f(a)) where a rule applies to f(a)."""

    @structure("f(shift(a)) -> shift(f(a))", "Map", note=STABLE)
    def through_moves(e: Expr) -> Expr | None:
        assert isinstance(e, Map)
        if e.f not in table.by_head:
            return None
        move = _outer_move(e, DEEPEST)
        if move is None:
            return None
        inner = _unmoved(e, move, DEEPEST)
        if inner is None:
            return None
        for r in table.of(inner):
            if (new := r.rewrite(inner)) is not None and new is not inner:
                return _moved(new, e, move)
        return None

    return through_moves


def _outer_move(e: Expr, depth: int) -> Expr | None:
    """The first move below elementwise operations."""
    if isinstance(e, MOVES):
        return e
    if isinstance(e, Map) and depth:
        for a in e.args:
            if (found := _outer_move(a, depth - 1)) is not None:
                return found
    return None


def _kind(e: Expr) -> tuple[object, ...]:
    """What must agree for two moves to be one: all but the operands."""
    return (type(e), *(getattr(e, name) for name in e.__match_args__ if name not in ("args", "shape")), e.shape, e.axes,
            e.args[0].shape, e.args[0].axes)


def _unmoved(e: Expr, move: Expr, depth: int, init: int = 0) -> Expr | None:
    """a with move(a) = e; with `init` = k > 0 the expression at the k-th boundary value of a delay."""
    if isinstance(e, MOVES):
        return e.args[init] if _kind(e) == _kind(move) else None
    like = move.args[init]
    if number(e) is not None or (isinstance(e, Broadcast) and e.args[0].rank == 0):
        inner = e.args[0] if isinstance(e, Broadcast) else e
        return Broadcast(inner, like.axes, like.shape, ())
    if not isinstance(e, Map) or not depth:
        return None
    args = [_unmoved(a, move, depth - 1, init) for a in e.args]
    known = [a for a in args if a is not None]
    return Map(e.f, tuple(known)) if len(known) == len(args) else None


def _moved(new: Expr, e: Expr, move: Expr) -> Expr | None:
    """The move of `new`; a delay's boundary values are the old expression at its boundary values."""
    if not isinstance(move, Shift):
        return move.with_args((new,))
    inits = [_unmoved(e, move, DEEPEST, k + 1) for k in range(len(move.inits))]
    known = [i for i in inits if i is not None]
    return Shift(new, move.axis, move.s, tuple(known)) if len(known) == len(inits) else None

