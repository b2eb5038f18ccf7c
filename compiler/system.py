"""A system: the named equations of a model, and all that is declared around them.

    System   name, sizes, inputs, targets, params, stats, equations, outputs, loss, penalties, metrics, training, data
             lengths, feedback, surgery: what is said of sequences
    energy, pretraining: what stands instead of a loss, and before training
             names, spans: how nodes are called and where they were written; outside identity

An equation is an expression; where another equation reads it, the expression itself stands (interned), and a `Ref` only
closes a cycle. `names` gives nodes the user's words; passes copy names along, and nothing is ever decided by a name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .graph import (
    BATCH,
    Broadcast,
    Const,
    Expr,
    Extent,
    GraphError,
    Input,
    Map,
    Param,
    Reduce,
    Ref,
    apply,
    class_of,
    length,
    postorder,
)
from .sizes import Size
from .units import Energy, Estimator

if TYPE_CHECKING:
    from .recipe import Stage


@dataclass(frozen=True)
class Span:
    """A place in a model's text: 1-based line and column, and the length of what stands there."""

    file: str
    line: int
    column: int
    width: int = 1

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Initialiser:
    """How a parameter starts: constant(c), normal(sd), uniform(lo, hi), xavier, glorot, he, orthogonal, identity(scale)."""

    kind: str = "constant"
    values: tuple[float, ...] = (0.0,)


@dataclass(frozen=True)
class Parameter:
    """A trained array and its initial value."""

    node: Param
    init: Initialiser = Initialiser()


@dataclass(frozen=True)
class Stat:
    """State that is not trained: written by `train_step`, read in place of its batch reduction in evaluation.

    `update` is the new value, over the batch; with `average` the stored value is the plain mean of `update` over the
    training batches seen so far.
    """

    node: Param
    init: Initialiser
    update: Expr
    average: bool = False


@dataclass(frozen=True)
class Average:
    """A mean as what averages combine from: a scalar total and a scalar count."""

    total: Expr
    count: Expr

    @property
    def value(self) -> Expr:
        """The mean; that of nothing is 0, where data tell how many there are."""
        if self.count is Const(1):
            return self.total
        told = not isinstance(self.count, Extent) and _whole(self.count)
        return apply("div", self.total, apply("maximum", self.count, 1) if told else self.count)


def _whole(count: Expr) -> bool:
    """Whether a number is whole whatever the data are: so many steps, so many that meet a condition."""
    match count:
        case Const(value=value):
            return value == int(value)
        case Extent() | Map(f="real"):
            return True
        case Map(f="add" | "sub" | "mul" | "neg" | "relu" | "maximum" | "minimum") | Reduce(kind="sum") | Broadcast():
            return all(map(_whole, count.args))
    return False


@dataclass(frozen=True)
class Penalty:
    """l2: (weight/2) * sum(w**2); l1: weight * sum(|w|), with subgradient sign(w); over the named parameters."""

    kind: str
    weight: float
    params: tuple[str, ...]


@dataclass(frozen=True)
class Training:
    """The `train` line: optimiser and its options, clipping, constraints, and what the trainer's loop reads.

    `options` are the optimiser's (lr, momentum, beta1, ...); `freeze` and `rates` name parameters; `max_norm` and `l1_ball`
    are constraints after the step: (bound, parameter names).
    """

    optimiser: str = "sgd"
    options: tuple[tuple[str, float | str | bool], ...] = (("lr", 0.01),)
    clip_norm: float | None = None
    clip_value: float | None = None
    decay: tuple[tuple[str, float, tuple[str, ...]], ...] = ()   # decoupled: (l2 | l1, weight, parameter names)
    max_norm: tuple[float, tuple[str, ...]] | None = None
    l1_ball: tuple[float, tuple[str, ...]] | None = None
    freeze: tuple[str, ...] = ()
    rates: tuple[tuple[str, float], ...] = ()
    truncate: int | None = None
    checkpoint: str | None = None                                # sqrt | every k | memory 200MB: see `options.read_checkpoint`
    epochs: int = 10
    batch: int = 32
    schedule: str = "constant"
    schedule_options: tuple[tuple[str, float], ...] = ()
    patience: int | None = None                                  # early stopping on validation, in epochs
    estimator: Estimator | None = None                           # of energy models


@dataclass(frozen=True)
class Data:
    """The `data` line: a source, its options, and the inputs as formulas (text) over the source's columns.

    `only` is the formula that is true of the examples that are read; "" reads all. `labelled`: how many examples of the training
    part are trained on, while pretraining sees all of it; 0 is all.
    """

    source: str
    options: tuple[tuple[str, float | str], ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    split: tuple[int, ...] = ()
    only: str = ""
    labelled: int = 0


@dataclass(frozen=True)
class Feedback:
    """What `generate` feeds back: input[t+1] ~ kind(args) of this step's values.

    kind: categorical(p), bernoulli(p), normal(mean, sd), or value(e) for no draw. `free` names scalar inputs without axes that
    are no inputs of the system: arguments of `generate`, 1 by default.
    """

    input: str
    axis: str
    kind: str
    args: tuple[Expr, ...]
    free: tuple[str, ...] = ()


def lengths_input(axis: str) -> Input:
    """The input that holds every example's own length along an axis: whole numbers from 0 to T, shape (B,)."""
    return Input(f"lengths_{axis}", (BATCH,), (), class_of(length(axis) + 1))


@dataclass
class System:
    """A model: see the head of this file."""

    name: str
    sizes: dict[str, int] = field(default_factory=dict)
    inputs: dict[str, Input] = field(default_factory=dict)
    targets: tuple[str, ...] = ()
    domains: dict[str, str] = field(default_factory=dict)                # inputs declared as unit (in [0, 1]) or binary
    params: dict[str, Parameter] = field(default_factory=dict)
    stats: dict[str, Stat] = field(default_factory=dict)
    equations: dict[str, Expr] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    loss: Average | None = None
    penalties: tuple[Penalty, ...] = ()
    metrics: dict[str, Average] = field(default_factory=dict)
    training: Training = field(default_factory=Training)
    data: Data | None = None
    lengths: tuple[str, ...] = ()                                        # axes along which examples have their own lengths
    feedback: Feedback | None = None
    energy: Energy | None = None                                         # instead of a loss
    pretraining: tuple[Stage, ...] = ()                                  # what comes before training: see `recipe`
    surgery: dict[str, tuple[Input, Expr]] = field(default_factory=dict)     # equation -> (its adjoint's name, what it becomes)
    names: dict[Expr, str] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)
    notes: dict[Expr, tuple[str, ...]] = field(default_factory=dict)     # rewrites that shaped a node, for comments

    def copy(self, **changes: object) -> System:
        """A system whose dictionaries may be changed without changing this one."""
        fresh: dict[str, object] = {k: dict(v) for k, v in vars(self).items() if isinstance(v, dict)}
        return replace(self, **{**fresh, **changes})  # type: ignore[arg-type]

    def equation(self, name: str, value: Expr) -> Expr:
        """Add an equation; its expression is what others read."""
        self.equations[name] = value
        self.names.setdefault(value, name)
        return value

    def resolve(self, e: Expr) -> Expr:
        """The expression that a reference stands for."""
        while isinstance(e, Ref):
            e = self.equations[e.name]
        return e

    def trained(self) -> tuple[str, ...]:
        """The parameters that training changes: neither frozen nor read by the recipe before it alone."""
        from .recipe import only_pretrained
        fixed = {*self.training.freeze, *(only_pretrained(self) if self.pretraining else ())}
        return tuple(k for k in self.params if k not in fixed)

    def roots(self) -> tuple[Expr, ...]:
        """Every expression that the system holds: equations, losses, metrics, updates."""
        averages = [*([self.loss] if self.loss else []), *self.metrics.values()]
        return (*self.equations.values(), *(e for a in averages for e in (a.total, a.count)),
                *(s.update for s in self.stats.values()), *(self.feedback.args if self.feedback else ()),
                *((self.energy.value,) if self.energy else ()), *(e for _, e in self.surgery.values()))

    def nodes(self, *more: Expr) -> Iterator[Expr]:
        """Every node once, operands first."""
        return postorder(*self.roots(), *more)

    def penalty(self) -> Expr | None:
        """The sum of the declared penalties, a scalar."""
        terms: list[Expr] = []
        for p in self.penalties:
            for name in p.params:
                w = self.params[name].node
                over = tuple(range(len(w.shape)))
                if p.kind == "l2":
                    terms.append(Reduce("sum", apply("square", w), over) * (p.weight / 2))
                else:
                    terms.append(Reduce("sum", apply("abs", w), over) * p.weight)
        if not terms:
            return None
        out = terms[0]
        for t in terms[1:]:
            out = out + t
        return out

    def objective(self) -> Expr:
        """What training minimises: the loss and the penalties."""
        if self.loss is None:
            raise GraphError(f"{self.name} has an energy, and no loss to differentiate: model.gradient(...) shows what "
                             "follows from it, and train_step descends it")
        penalty = self.penalty()
        return self.loss.value if penalty is None else self.loss.value + penalty

    def rewrite(self, mapping: Mapping[Expr, Expr]) -> System:
        """The system with nodes replaced everywhere, rebuilt upwards; names and notes move to what replaces."""
        memo: dict[Expr, Expr] = {}
        for root in self.roots():
            stack = [(root, False)]
            while stack:
                node, ready = stack.pop()
                if node in memo:
                    continue
                new = mapping.get(node, node)                    # what replaces is itself rewritten below its top
                if ready:
                    memo[node] = new.with_args(tuple(memo[a] for a in new.args))
                else:
                    stack.append((node, True))
                    stack.extend((a, False) for a in new.args if a not in memo)
        return self.mapped(memo)

    def mapped(self, memo: Mapping[Expr, Expr]) -> System:
        """The system in which every node is what `memo` says of it."""
        def average(a: Average) -> Average:
            return Average(memo[a.total], memo[a.count])

        out = self.copy(
            equations={k: memo[e] for k, e in self.equations.items()},
            stats={k: replace(s, update=memo[s.update]) for k, s in self.stats.items()},
            loss=average(self.loss) if self.loss else None,
            metrics={k: average(a) for k, a in self.metrics.items()},
            feedback=replace(self.feedback, args=tuple(memo[e] for e in self.feedback.args)) if self.feedback else None,
            energy=replace(self.energy, value=memo[self.energy.value]) if self.energy else None,
            surgery={k: (d, memo[e]) for k, (d, e) in self.surgery.items()},
        )
        for old, new in memo.items():
            if old in self.names:
                out.names.setdefault(new, self.names[old])
            if old in self.notes:
                out.notes.setdefault(new, self.notes[old])
        return out


def size_value(system: System, s: Size) -> int | None:
    """The declared value of a size, or None where it depends on the batch or a sequence."""
    try:
        return s.evaluate(system.sizes)
    except KeyError:
        return None
