"""Stabilise: naive forms are replaced by stable ones before anything is differentiated.

    exp(s)/sum(exp(s))     ->  exp(s - logsumexp(s))         log(softmax(s))  ->  s - logsumexp(s)
    1/(1 + exp(-x))        ->  sigmoid(x)                    log(1 + exp(x))  ->  softplus(x)

A pattern is found through delays, steps, slices and transposes: f(shift(a, a0)) is tried as shift(f(a), f(a0)). It is found
through a recurrence's closing edge, too: the logarithm of an equation p that is only read as Ref(p) becomes an equation log_p.

The value never changes where the naive form is exact, to rounding; infinities and NaN that only the naive form has go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..algebra import Rewriter, Rule, Table, number, structure
from ..graph import At, Broadcast, Expr, Flip, Freeze, Map, Reduce, Ref, Reshape, Shift, Slice, Thaw, Transpose
from ..system import System
from .complements import complements
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
    return Table((*SCALAR_RULES, *STRUCTURE_RULES, _through_moves(stable), *stable))


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
    return complements(system)


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

def _through_moves(stable: Sequence[Rule]) -> Rule:
    """f(move(a)) -> move(f(a)) where a rule applies to f(a)."""
    heads = Table(tuple(stable)).by_head

    @structure("f(shift(a)) -> shift(f(a))", "Map", note=STABLE)
    def through_moves(e: Expr) -> Expr | None:
        assert isinstance(e, Map)
        move = _outer_move(e, DEEPEST) if e.f in heads else None
        inner = None if move is None else _unmoved(e, move, DEEPEST)
        if move is None or inner is None:
            return None
        rewriter = Rewriter(table, {a: a for a in _bases(e, move)})      # below them everything is in normal form
        new = rewriter(inner)
        if not any(firing.rule.note for firing in rewriter.fired):
            return None
        return _moved(new, e, move)

    table = Table((*SCALAR_RULES, through_moves, *stable))       # through several moves, one by one
    return through_moves


def _outer_move(e: Expr, depth: int) -> Expr | None:
    """The first move below elementwise operations, reductions and repeats."""
    if isinstance(e, MOVES):
        return e
    if isinstance(e, Map | Reduce | Broadcast) and depth:
        for a in e.args:
            if (found := _outer_move(a, depth - 1)) is not None:
                return found
    return None


def _bases(e: Expr, move: Expr) -> list[Expr]:
    """What the moves below e are applied to."""
    found, stack = dict[Expr, None](), [e]
    while stack:
        n = stack.pop()
        if isinstance(n, MOVES):
            found[n.args[0]] = None
        else:
            stack.extend(n.args)
    return list(found)


def _in_time(move: Expr) -> bool:
    """A move along time leaves the features alone, so that reductions and repeats of features commute with it."""
    return isinstance(move, Shift | At)


def _kind(e: Expr) -> tuple[object, ...]:
    """What must agree for two moves to be one: all but the operands."""
    options = (type(e), *(getattr(e, name) for name in e.__match_args__ if name not in ("args", "shape")))
    return options if _in_time(e) else (*options, e.shape, e.axes, e.args[0].shape, e.args[0].axes)


def _unmoved(e: Expr, move: Expr, depth: int, init: int = 0) -> Expr | None:
    """a with move(a) = e; with `init` = k > 0 the expression at the k-th boundary value of a delay."""
    if isinstance(e, MOVES):
        return e.args[init] if _kind(e) == _kind(move) else None
    if not depth:
        return None
    if isinstance(e, Map):
        moved = {a: _unmoved(a, move, depth - 1, init) for a in e.args if not _constant(a)}
        known = {a: b for a, b in moved.items() if b is not None}
        if not known or len(known) != len(moved):
            return None
        like = next(iter(known.values()))
        return Map(e.f, tuple(known[a] if a in known else Broadcast(_scalar(a), like.axes, like.shape, ()) for a in e.args))
    if _in_time(move) and ((isinstance(e, Reduce) and not any(isinstance(o, str) for o in e.over)) or isinstance(e, Broadcast)):
        inner = _unmoved(e.args[0], move, depth - 1, init)
        return None if inner is None else e.with_args((inner,))
    return None


def _constant(e: Expr) -> bool:
    return number(e) is not None or (isinstance(e, Broadcast) and e.args[0].rank == 0)


def _scalar(e: Expr) -> Expr:
    return e.args[0] if isinstance(e, Broadcast) else e


def _moved(new: Expr, e: Expr, move: Expr) -> Expr | None:
    """The move of `new`; a delay's boundary values are the old expression at its boundary values."""
    if not isinstance(move, Shift):
        return move.with_args((new,))
    inits = [_unmoved(e, move, DEEPEST, k + 1) for k in range(len(move.inits))]
    known = [i for i in inits if i is not None]
    return Shift(new, move.axis, move.s, tuple(known)) if len(known) == len(inits) else None
