"""The textbook's sum of backpropagation through time: the gradient of one step's loss, term by term.

    dE_3/dW = dE_3/ds_3 ds_3/dW + dE_3/ds_3 ds_3/ds_2 ds_2/dW + dE_3/ds_3 ds_3/ds_2 ds_2/ds_1 ds_1/dW

E_n is what step n adds to the loss (all of the loss, where it is no sum over time), s_k what a step hands to the next, steps
counted from 1, and s_0 what stands before the first. ds_k/dW takes s_{k-1} as a constant. For several states, or delays of
several steps, s_k is all of them together, and a Jacobian has a block for every pair.

A term is computed as it is defined: every step gets parameters of its own, W_1, W_2, ..., and the k-th term is the gradient by
those of step k, what E itself reads counting to none of them (`direct`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .gradient import gradient, is_zero, pullback, tangent
from .graph import At, Expr, GraphError, Input, Param, Reduce, Ref, postorder
from .passes.carry import Slot, carried
from .passes.simplify import simplify_memo
from .passes.unroll import unroll
from .system import System
from .truncation import along

State = tuple[str, int]                                  # a state and its step, from 1


@dataclass(frozen=True)
class Terms:
    """dE_n/dW = direct + terms[0] + terms[1] + ..., over a system; `direct` is None where E itself does not read W."""

    system: System
    direct: Expr | None
    terms: list[Expr]

    @property
    def all(self) -> list[Expr]:
        return [*([] if self.direct is None else [self.direct]), *self.terms]


@dataclass
class Unrolled:
    """A system at a length, each step's states as functions of those before.

    `states`: name -> how many steps it is remembered; `functions` and `loss` read states and inputs as inputs of the names
    s_1, x_1; `given` are the expressions that these names stand for, boundaries included.
    """

    system: System
    axis: str
    steps: int
    states: dict[str, int]
    functions: dict[State, Expr]
    loss: Expr
    nodes: dict[State, Input]
    given: dict[Expr, Expr] = field(default_factory=dict)

    def terms(self, name: str) -> Terms:
        """What of dE_n/dW comes through step 1, 2, ..., and through none."""
        w = self.system.params[name].node
        own = {k: Param(f"{name} of step {k}", w.shape) for k in range(1, self.steps + 1)}
        built: dict[Expr, Expr] = {n: e for n, e in self.given.items() if n not in self.nodes.values()}
        built.update({n: built[self.given[n]] if self.given[n] in built else self.given[n]
                      for s, n in self.nodes.items() if s[1] < 1})
        for (state, k), f in self.functions.items():
            built[self.nodes[state, k]] = _replaced(f, {**built, w: own[k]})
        loss = _replaced(self.loss, built)
        bare = self._with(loss)
        found = gradient(bare, loss, [w, *own.values()])
        back: dict[Expr, Expr] = {p: w for p in own.values()}
        direct, *terms = (_replaced(found.grads[p], back) for p in (w, *own.values()))
        equations = {k: _replaced(e, back) for k, e in found.system.equations.items()}
        return Terms(found.system.copy(equations=equations), None if is_zero(direct) else direct, terms)

    def direct(self, name: str) -> Expr | None:
        """dE_n/dW with all states constant; None where it is zero."""
        w = self.system.params[name].node
        found = gradient(self._with(self.loss), self.loss, [w]).grads[w]
        return self._found(found)

    # ------------------------------------------------------------ factors

    def by_state(self, state: State) -> Expr | None:
        """dE_n/ds_k with all other states constant, of the shape of s; None where E does not read it."""
        n = self.nodes[state]
        found = gradient(self._with(self.loss), self.loss, [n]).grads[n]
        return self._found(found)

    def jacobian(self, later: State, earlier: State, direction: Expr) -> Expr | None:
        """The derivative of a state by an earlier one, applied to a direction; None where it is zero."""
        f, n = self.functions[later], self.nodes[earlier]
        out = tangent(self._with(f), [f], {n: direction}).values[0]
        return self._found(out)

    def by_parameter(self, state: State, name: str, seed: Expr) -> Expr | None:
        """seed @ ds_k/dW, all earlier states being constant; None where s_k does not read W."""
        f, w = self.functions[state], self.system.params[name].node
        out = pullback(self._with(f), {f: seed}, [w]).grads[w]
        return self._found(out)

    def _with(self, e: Expr) -> System:
        return self.system.copy(equations={**self.system.equations, "the root": e})

    def _found(self, e: Expr) -> Expr | None:
        """e simplified; None where it is zero."""
        e = simplify_memo([e], self.system.sizes)[e]
        return None if is_zero(e) else e


def unrolled(system: System, steps: int) -> Unrolled:
    """The last step's loss and all states at a length. GraphError where the model has no loss, or nothing that is remembered."""
    if system.loss is None:
        raise GraphError(f"{system.name} has no loss")
    axis = along(system)
    whole, slots = carried(system, axis)
    if not slots:
        raise GraphError(f"{system.name} remembers nothing from step to step")
    states: dict[str, int] = {}
    for x in sorted(slots, key=lambda x: list(whole.equations).index(x.key.partition("[")[0])
                    if x.key.partition("[")[0] in whole.equations else -1):
        states[x.key.partition("[")[0]] = max(states.get(x.key.partition("[")[0], 0), -x.s)
    values = {x.key.partition("[")[0]: whole.resolve(x.value) for x in slots}
    loss = _last_loss(whole, axis)
    wanted = [At(v, axis, k) for k in range(steps) for v in values.values()]
    flat, roots = unroll(whole, axis, steps, [loss, *wanted], first=1)
    boundary: dict[Expr, Input] = {x.node: Input(_called(x, slots), x.node.axes, x.node.shape, x.node.type) for x in slots}
    inputs: dict[Expr, Input] = {n: Input(f"{n.args[0].name}_{n.i + 1}", n.axes, n.shape, n.type)
              for n in postorder(*roots) if isinstance(n, At) and isinstance(n.args[0], Input) and n.axis == axis}
    keys = [(name, k) for k in range(1, steps + 1) for name in values]
    cut = dict(zip(roots[1:], keys, strict=True))
    nodes = {s: Input(f"{s[0]}_{s[1]}", e.axes, e.shape, e.type) for e, s in cut.items()}
    leaves: dict[Expr, Expr] = {**boundary, **inputs}
    functions = {s: _replaced(e, {**leaves, **{o: nodes[t] for o, t in cut.items() if t[1] < s[1]}}) for e, s in cut.items()}
    nodes.update({(x.key.partition("[")[0], 1 + x.s): boundary[x.node] for x in slots})
    given: dict[Expr, Expr] = {n: e for e, n in inputs.items()}
    given |= {nodes[s]: e for e, s in cut.items()}
    given |= {boundary[x.node]: x.init for x in slots}
    body = _replaced(roots[0], {**leaves, **{o: nodes[t] for o, t in cut.items()}})
    rolled = {n.name: flat.equations[n.name] for n in flat.nodes(*roots) if isinstance(n, Ref)}
    named = flat.copy(equations=rolled, names={}, loss=None, metrics={}, stats={}, outputs=(), penalties=())
    _carry_names(named, flat, {*postorder(body, *functions.values())}, leaves, cut, nodes)
    return Unrolled(named, axis, steps, states, functions, body, nodes, given)


def _called(x: Slot, slots: Sequence[Slot]) -> str:
    return f"{x.key.partition('[')[0]}_{1 + x.s}".replace("_-", "_m")


def _last_loss(system: System, axis: str) -> Expr:
    """What the last step adds to the loss, or all of the loss where it is no sum over time."""
    assert system.loss is not None
    total = system.loss.total
    if isinstance(total, Reduce) and total.kind == "sum" and axis in total.over:
        total = Reduce("sum", At(total.args[0], axis, -1), tuple(o for o in total.over if o != axis))
    return total / system.loss.count


def _replaced(e: Expr, leaves: Mapping[Expr, Expr]) -> Expr:
    """e with nodes replaced; what references stand for is left as it is."""
    memo: dict[Expr, Expr] = {}
    for n in postorder(e):
        memo[n] = leaves.get(n) or n.with_args(tuple(memo[a] for a in n.args))
    return memo[e]


def _carry_names(out: System, flat: System, used: set[Expr], leaves: dict[Expr, Expr], cut: dict[Expr, State],
                 nodes: dict[State, Input]) -> None:
    """What is called o_3 keeps its name, read over the states as inputs."""
    last = max(k for _, k in nodes)
    for limit in range(1, last + 2):
        memo: dict[Expr, Expr] = {}
        given = {**leaves, **{o: nodes[t] for o, t in cut.items() if t[1] < limit}}
        for n in postorder(*(n for n in flat.names if n not in cut and n.args)):
            memo[n] = given.get(n) or n.with_args(tuple(memo[a] for a in n.args))
            if memo[n] in used and n in flat.names and n not in cut and n.args:
                out.names.setdefault(memo[n], flat.names[n])
