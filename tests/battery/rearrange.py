"""Rearrangements of a naive formula that leave its mathematics alone: commuted, rewritten by signs, split over equations,
delayed, transposed, sliced. Deterministic: one seed, one rearrangement."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from battery.formulas import Case, K, N
from battery.values import evaluate
from chainrule.compiler.algebra import constant, number
from chainrule.compiler.graph import At, Broadcast, Const, Expr, Input, Map, Reduce, Shift, Slice, Transpose, postorder, symbol
from chainrule.compiler.ops import PRIMITIVES

M = symbol("M")
WIDER = symbol("L")                                      # the length of what is sliced


@dataclass(frozen=True)
class Rearrangement:
    """A formula, its variable, its values, and which of its nodes stand in equations of their own."""

    text: str
    e: Expr
    x: Input
    values: dict[str, np.ndarray]
    named: tuple[Expr, ...]


def rearrange(case: Case, values: Mapping[str, np.ndarray], seed: int) -> Rearrangement:
    rng = random.Random(seed)
    over_time = case.name == "variance over time"
    inputs = [Input(n, ("t",), (N,)) for n in "xyz"]
    held = {k: np.array(v) for k, v in values.items()}
    done: list[str] = []
    leaf = rng.choice(["plain", "plain", "plain", "delayed", "transposed", "sliced"])
    if leaf == "delayed" and not over_time:
        operands = [Shift(a, "t", s, (_row(values[n][1], a),)) for s in [rng.choice([-1, 1])]
                    for a, n in zip(inputs, "xyz", strict=True)]
    elif leaf == "transposed" and K not in postorder(case.build(*inputs)) and "mean" not in case.name:
        inputs = [Input(n, ("t",), (N, M)) for n in "xyz"]
        operands = [Transpose(a) for a in inputs]
        held = {n: np.stack([v, v[::-1]], axis=-1) if n in "xyz" else v for n, v in held.items()}
        held = {n: v[:2] for n, v in held.items()}
    elif leaf == "sliced":
        inputs = [Input(n, ("t",), (WIDER,)) for n in "xyz"]
        operands = [Slice(a, 0, 1, 1 + N) for a in inputs]
        held = {n: np.concatenate([v[:, :1], v, v[:, -1:]], axis=1) if n in "xyz" else v for n, v in held.items()}
    else:
        leaf, operands = "plain", list(inputs)
    e = case.build(*operands)
    done.append(leaf)
    if leaf == "plain" or (leaf == "sliced" and rng.random() < 0.5):
        e, how = _moved_inside(e, inputs[0], held, rng, delays=not over_time)
        done.append(how)
    e = _commuted(e, rng)
    nodes = [n for n in postorder(e) if isinstance(n, Map | Reduce)]
    named = tuple(rng.sample(nodes, min(len(nodes), rng.choice([0, 1, 2, 4]))))
    return Rearrangement(f"{case.name}: {', '.join(done)}, {len(named)} equations", e, inputs[0], held, named)


def _row(row: np.ndarray, like: Expr) -> Expr:
    """A boundary value from the case's own points: inside the formula's domain."""
    return Broadcast(Const(float(row[3])), (), like.shape, ())


# ---------------------------------------------------------------- commuted, and signs

def _commuted(e: Expr, rng: random.Random) -> Expr:
    memo: dict[Expr, Expr] = {}
    for n in postorder(e):
        m = n.with_args(tuple(memo[a] for a in n.args))
        if isinstance(m, Map):
            m = _other_way(m, rng)
        memo[n] = m
    return memo[e]


def _other_way(m: Map, rng: random.Random) -> Expr:
    """The same elementwise expression written in another way."""
    if PRIMITIVES[m.f].commutes and rng.random() < 0.5:
        return Map(m.f, m.args[::-1])
    if m.f == "sub" and rng.random() < 0.3:
        a, b = m.args
        return rng.choice([Map("add", (a, -b)), Map("add", (-b, a)), Map("neg", (Map("sub", (b, a)),)),
                           Map("add", (a, Map("mul", (constant(-1, b), b))))])
    if m.f == "neg" and rng.random() < 0.3:
        a = m.args[0]
        return rng.choice([Map("mul", (constant(-1, a), a)), Map("sub", (constant(0, a), a)), Map("div", (a, constant(-1, a)))])
    if m.f == "div" and number(m.args[1]) is None and rng.random() < 0.15:
        return Map("mul", (m.args[0], Map("div", (constant(1, m), m.args[1]))))
    return m


# ---------------------------------------------------------------- a move in the middle

def _moved_inside(e: Expr, x: Expr, values: Mapping[str, np.ndarray], rng: random.Random, delays: bool) -> tuple[Expr, str]:
    """A delay, a transpose or a slice of an intermediate result through which all of x passes."""
    spots = [q for q in postorder(e) if q is not e and q.args and q.type == e.type and _all_through(e, q, x)]
    rng.shuffle(spots)
    for q in spots:
        kind = rng.choice(["delay", "delay", "slice"])
        if kind == "delay" and delays:
            for init in _inits(e, q, values):
                found = _replace(e, q, Shift(q, "t", rng.choice([-1, 1]), (constant(init, _one_step(q)),)))
                if found is not None:
                    return found, "delayed inside"
        if kind == "slice" and len(q.shape) == 1 and _elementwise(e, q):
            found = _replace(e, q, Slice(q, 0, 1, 3))
            if found is not None:
                return found, "sliced inside"
    return e, "as it is"


def _one_step(q: Expr) -> Expr:
    return At(q, "t", 0)


def _all_through(e: Expr, q: Expr, x: Expr) -> bool:
    """Whether x reaches e through q only, and q depends on x."""
    if x not in postorder(q):
        return False
    stack, seen = [e], set[Expr]()
    while stack:
        n = stack.pop()
        if n is x:
            return False
        if n is not q and n not in seen:
            seen.add(n)
            stack.extend(n.args)
    return True


def _elementwise(e: Expr, q: Expr) -> bool:
    """Whether above q there is nothing but elementwise operations with numbers."""
    stack = [e]
    while stack:
        n = stack.pop()
        if n is q or number(n) is not None:
            continue
        if not isinstance(n, Map):
            return False
        stack.extend(n.args)
    return True


def _replace(e: Expr, q: Expr, by: Expr) -> Expr | None:
    """e with q replaced; numbers take the new dims."""
    memo: dict[Expr, Expr] = {q: by}
    for n in postorder(e):
        if n in memo:
            continue
        args = tuple(memo[a] for a in n.args)
        if isinstance(n, Map) and any(a is not b for a, b in zip(args, n.args, strict=True)):
            like = next(b for a, b in zip(n.args, args, strict=True) if a is not b)
            args = tuple(constant(k, like) if (k := number(a)) is not None else a for a in args)
        memo[n] = n.with_args(args)
    return memo[e]


def _inits(e: Expr, q: Expr, values: Mapping[str, np.ndarray]) -> list[float]:
    """Short numbers among the values of q: boundary values inside the domain of what reads it, exact in both types."""
    found = evaluate([q], values, np.float64, {"N": 4, "M": 2})[0]
    short = {float(np.float16(v)) for v in found.ravel() if np.isfinite(v) and 0.01 < abs(v) < 50 and abs(v - 1) > 0.05}
    return sorted(short)[:1]
