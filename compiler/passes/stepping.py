"""Stepping: a system in evaluation, one step at a time.

Along its axis a sequence becomes a single value; every delay reads a slot of the carry (`h[-1]`), the index reads the carry's
entry of the axis's name. What does not run along the axis (initial states, an encoder) is computed once and stored in the carry.

    start    carry's keys -> their values before the first step
    step     this step's inputs and the carry -> the outputs, and the slots of the next step: `after`; and what they are made of
    draw     what the feedback draws from, over values that the step returns

NoSteps, one sentence, where no step exists: something reads ahead, or reads all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..formulas import formula
from ..formulas.idioms import softmax_of
from ..graph import (
    BATCH,
    Broadcast,
    Concat,
    Const,
    Expr,
    Extent,
    Freeze,
    GraphError,
    Index,
    Input,
    Map,
    Move,
    Param,
    Put,
    Ref,
    Shift,
    Thaw,
    postorder,
)
from ..node import base, length
from ..reach import reached
from ..system import System
from .carry import Slot, slots

DRAWN = {"categorical": ("probabilities",), "bernoulli": ("probabilities",), "normal": ("mean", "sd"), "value": ("value",)}


class NoSteps(GraphError):
    """Why a system has no steps, in one sentence."""


@dataclass
class Stepping:
    """One step of a system along an axis; `given` are the inputs of a step, `fixed` those of the start."""

    axis: str
    start: System
    step: System
    draw: System | None = None
    carry: dict[str, Input] = field(default_factory=dict)        # key -> the input of the step that holds it
    before: dict[str, str] = field(default_factory=dict)         # key -> the start's equation of its first value
    after: dict[str, str] = field(default_factory=dict)          # key -> the step's equation of its next value
    outputs: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    softmax: bool = False                                        # the draw's argument is s where the feedback says softmax(s)


def axis_of(system: System) -> str:
    """The axis that a step runs along: the feedback's, else the only one."""
    if system.feedback is not None:
        return system.feedback.axis
    roots = [system.equations[k] for k in system.outputs]
    axes = sorted({base(a) for n in reached(system, roots)[0] for a in n.axes if a != BATCH})
    if not axes:
        raise NoSteps("this model has no time axis, and so no steps")
    if len(axes) > 1:
        raise NoSteps(f"this model runs along {' and '.join(axes)}, and no feedback says along which one it steps")
    return axes[0]


def stepping(system: System) -> Stepping:
    """The step of an evaluation system, along `axis_of` it."""
    axis = axis_of(system)
    return _Stepper(system, axis).run()


class _Stepper:
    def __init__(self, system: System, axis: str) -> None:
        self.system, self.axis = system, axis
        self.called = {e: k for k, e in reversed(system.equations.items()) if axis in e.axes}
        self.outputs = [k for k in system.outputs if axis in system.equations[k].axes]
        self.memo: dict[Expr, Expr] = {}
        self.stored: dict[Expr, Input] = {}                      # what does not run along the axis -> the carry's input
        self.keys: set[str] = {axis}
        self.carry: dict[str, Input] = {}
        self.count: Input | None = None
        self.softmax = False
        self.free = {Input(k, ()) for k in system.feedback.free} if system.feedback else set()

    def run(self) -> Stepping:
        if not self.outputs:
            raise NoSteps(f"no output of this model has steps along {self.axis}")
        feedback = self.system.feedback
        roots = [self.system.equations[k] for k in self.outputs]
        nodes, _ = reached(self.system, [*roots, *(feedback.args if feedback else ())])
        for n in nodes:
            self._stepwise(n)
        reads = self._frontier() if feedback is not None else {}
        roots += reads.values()
        try:
            found = slots(self.system, self.axis, roots)
        except GraphError as error:
            raise NoSteps(f"one step has no single state before it: {error}") from None
        self.place = {(x.value, x.s): x for x in found}
        self.keys |= {x.key for x in found}
        equations = {k: self.of(self.system.equations[k]) for k in self.outputs}
        equations |= {k: self.of(e) for k, e in reads.items()}
        after = {x.key: f"next {x.key}" for x in found}
        equations |= {after[x.key]: self._next(x) for x in found}
        draw = self._drawn(reads) if feedback is not None else None
        return self._result(found, equations, after, draw)

    def _result(self, found: list[Slot], equations: dict[str, Expr], after: dict[str, str], draw: System | None) -> Stepping:
        self.carry = {x.key: x.node for x in found} | {i.name: i for i in self.stored.values()}
        begin: dict[str, Expr] = {x.key: x.init for x in found} | {i.name: e for e, i in self.stored.items()}
        if self.count is not None:
            self.carry[self.axis], begin[self.axis] = self.count, Const(0)
        given = [k for k, i in self.system.inputs.items() if self.axis in i.axes]
        read = {n.name for n in postorder(*equations.values()) if isinstance(n, Input)}
        given = [k for k in given if k in read]
        need = {n.name for n in reached(self.system, begin.values())[0] if isinstance(n, Input)}
        fixed = tuple(k for k in self.system.inputs if k in need)
        own = {k: self.memo[e] for k, e in self.system.equations.items() if self.axis in e.axes and e in self.memo}
        step = self._system({**own, **equations}, {**{k: self._input(k) for k in given}, **self.carry})
        for e, n in self.memo.items():
            if e in self.system.names and n not in self.carry.values():
                step.names.setdefault(n, self.system.names[e])
        before = {k: f"first {k}" for k in begin}
        first = {before[k]: e for k, e in begin.items()}
        start = self._system({**self.system.equations, **first}, {k: self.system.inputs[k] for k in fixed})
        start.names = dict(self.system.names)
        outputs = tuple(k for k in equations if k not in after.values())
        return Stepping(self.axis, start, step, draw, self.carry, before, after, outputs, tuple(given), fixed, self.softmax)

    def _system(self, equations: dict[str, Expr], inputs: dict[str, Input]) -> System:
        s = self.system
        return System(s.name, dict(s.sizes), inputs, params=s.params, stats=s.stats, equations=equations, spans=s.spans)

    # ------------------------------------------------------------ what has no steps

    def _stepwise(self, n: Expr) -> None:
        """GraphError where a node needs more than the steps up to this one."""
        T, t = str(length(self.axis)), self.axis
        if any(base(a) == t and a != t for a in n.axes):
            raise NoSteps(f"{self._say(n)} reads every step along {t} at once")
        if isinstance(n, (Thaw, Put)) and n.axis == t:
            raise NoSteps(f"{self._say(n)} is a sequence as a whole, not made step by step")
        if t not in n.axes and any(t in a.axes for a in n.args):
            raise NoSteps(f"{self._say(n)} reads every step along {t} at once")
        if isinstance(n, Shift) and n.axis == t and n.s > 0:
            raise NoSteps(f"{self._say(n)} reads ahead")
        sizes = (*n.shape, *((n.size,) if isinstance(n, Extent) else ()), *((n.type.n,) if n.type.n is not None else ()))
        if any(T in s.symbols for s in sizes):
            raise NoSteps(f"{self._say(n)} needs the length {T}, which is not known at a step")

    def _say(self, n: Expr) -> str:
        names = {e: k for e, k in self.system.names.items() if e is not n}
        return f"`{formula(n, names, limit=40)}`"

    # ------------------------------------------------------------ one step

    def of(self, root: Expr) -> Expr:
        """The value of an expression at one step."""
        stack = [(root, False)]
        while stack:
            n, ready = stack.pop()
            if n in self.memo:
                continue
            args = self._args(n)
            if ready:
                self.memo[n] = self._make(n, tuple(self.memo[a] for a in args))
            else:
                stack.append((n, True))
                stack.extend((a, False) for a in args if a not in self.memo)
        return self.memo[root]

    def _args(self, n: Expr) -> tuple[Expr, ...]:
        """What a node reads at this step."""
        if self.axis not in n.axes:
            return n.args if self._light(n) else ()
        if isinstance(n, Shift) and n.axis == self.axis:
            return ()
        return n.args

    def _make(self, n: Expr, args: tuple[Expr, ...]) -> Expr:
        axes = tuple(a for a in n.axes if a != self.axis)
        if self.axis not in n.axes:
            return n.with_args(args) if self._light(n) else self._kept(n)
        match n:
            case Shift(axis=self.axis, s=s):
                return self.place[self.system.resolve(n.args[0]), s].node
            case Index():
                self.count = self.count or Input(self.axis, ())
                return self.count
            case Input():
                return self._input(n.name)
            case Ref():
                return Ref(n.name, axes, n.shape, n.type)
            case Broadcast():
                return Broadcast(args[0], axes, n.shape, n.places)
        return n.with_args(args)

    def _input(self, name: str) -> Input:
        i = self.system.inputs[name]
        return Input(name, tuple(a for a in i.axes if a != self.axis), i.shape, i.type)

    def _next(self, x: Slot) -> Expr:
        later = self.place.get((x.value, x.s + 1))
        return later.node if later is not None else self.of(x.value)

    # ------------------------------------------------------------ what is computed once

    def _light(self, n: Expr) -> bool:
        """Whether a value that does not run along the axis is a parameter, a number, or a view: nothing to store."""
        if (isinstance(n, (Move, Concat)) and not isinstance(n, Freeze)) or self._depends(n, self.free):
            return True                                          # or it waits for an argument of `generate`
        return isinstance(n, (Param, Const, Extent, Index)) or (isinstance(n, Map) and all(
            isinstance(m, (Map, Const, Extent, Index, Broadcast)) for m in postorder(n)))

    def _kept(self, n: Expr) -> Input:
        """The carry's entry that holds a value."""
        n = self.system.resolve(n)
        if n not in self.stored:
            key = wanted = self._key(n)
            k = 2
            while key in self.keys:
                key, k = f"{wanted}{k}", k + 1
            self.keys.add(key)
            self.stored[n] = Input(key, n.axes, n.shape, n.type)
        return self.stored[n]

    def _key(self, n: Expr) -> str:
        """The name of the value, or of what it is made of."""
        named = n
        while named not in self.system.names and not isinstance(named, Input) and isinstance(named, (Freeze, Move)):
            named = named.args[0]
        if isinstance(named, Input):
            return named.name
        if named in self.system.names:
            return self.system.names[named]
        words = [self.system.names.get(a) or getattr(a, "name", "") for a in named.args]
        before = [named.f] if isinstance(named, Map) and len(named.args) == 1 else []
        return "_".join(w for w in (*before, *words) if w) or "value"

    # ------------------------------------------------------------ the draw

    def _frontier(self) -> dict[str, Expr]:
        """What the feedback reads of a step: its equations, and, where it names none, the largest parts that are known."""
        assert self.system.feedback is not None
        out: dict[str, Expr] = {}
        known: dict[Expr, bool] = {}                             # whether a part may be computed from equations and inputs alone
        for n in postorder(*self.system.feedback.args):
            leaf = n in self.called or self.axis not in n.axes or isinstance(n, Input)
            known[n] = leaf or (not isinstance(n, (Shift, Index, Ref)) and all(known[a] for a in n.args))
        stack, seen = list(reversed(self.system.feedback.args)), set[Expr]()
        while stack:
            n = stack.pop()
            if n in seen:
                continue
            seen.add(n)
            if n in self.called:
                out[self.called[n]] = n
            elif n in self.free or self.axis not in n.axes or isinstance(n, Input):
                continue
            elif not known[n] and not self._depends(n, self.free):
                name, k = "fed", 2
                while name in (*self.system.equations, *out):
                    name, k = f"fed{k}", k + 1
                out[name] = n
            else:
                stack.extend(reversed(n.args))
        return out

    def _depends(self, n: Expr, free: set[Input]) -> bool:
        return any(m in free for m in postorder(n))

    def _scores(self, p: Expr) -> Expr | None:
        """s, where probabilities are written as softmax(s) over the last feature: the draw takes the softmax itself."""
        found = softmax_of(p, lambda e: e in self.called) if p not in self.called else None
        return found[1] if found and found[0] == "softmax" and found[2] == (len(p.shape) - 1,) else None

    def _drawn(self, reads: dict[str, Expr]) -> System:
        """The feedback's arguments over what the step returns, the carry and the step's inputs."""
        feedback = self.system.feedback
        assert feedback is not None
        inputs = {k: Input(k, tuple(a for a in e.axes if a != self.axis), e.shape, e.type) for k, e in reads.items()}
        own, self.memo = self.memo, {e: inputs[k] for k, e in reads.items()}
        free = {k: Input(k, ()) for k in feedback.free}
        self.memo |= {i: i for i in free.values()}
        roots = [self._scores(e) or e for e in feedback.args]
        self.softmax = roots != [*feedback.args]
        equations = {f"draw {k}": self.of(e) for k, e in enumerate(roots)}
        called = dict(zip(equations.values(), ("scores",) if self.softmax else DRAWN[feedback.kind], strict=True))
        self.memo = own
        given = {k: self._input(k) for k, i in self.system.inputs.items() if self.axis in i.axes}
        kept = {i.name: i for i in self.stored.values()}
        draw = self._system(equations, {**given, **kept, **inputs, **free})
        draw.names = {e: k for e, k in called.items() if not isinstance(e, Input)}
        return draw
