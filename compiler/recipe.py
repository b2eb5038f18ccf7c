"""The recipe before training: models over values of the big one, trained one after the other, and parameters set from others.

    Pretraining   a block: an ordinary system over the inputs of the model and over values that the model computes for it
    Setting       a parameter becomes what an expression of other parameters is at that point: `pretrain V1 = W1.T`

Greedy training falls out of one rule. A block trains the parameters that its loss reads, but for those that an earlier block
has trained; whatever named value of the model does not depend on what the block trains is a constant to it: an input, which
the model computes once before the block begins, as in evaluation, noise off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .graph import BATCH, Const, Expr, Input, Intercept, Param, Ref
from .passes.evaluation import batch_reductions
from .reach import reached
from .system import System, Training


@dataclass(frozen=True, eq=False)
class Pretraining:
    """One block. `feeds`: its inputs that are none of the model's, and the expression of the model that each is."""

    name: str
    system: System
    feeds: tuple[tuple[str, Expr], ...] = ()

    @property
    def params(self) -> tuple[str, ...]:
        """The parameters that it trains."""
        return self.system.trained()


@dataclass(frozen=True)
class Setting:
    """A parameter, and the expression of other parameters that it becomes."""

    param: str
    value: Expr


Stage = Pretraining | Setting


def cut_out(model: System, name: str, block: System, input_name: Callable[[str], str],
            in_unit: Callable[[Expr], bool] = lambda e: False, given: dict[str, Expr] | None = None) -> Pretraining:
    """The block as a system by itself.

    `block` holds the block's own equations, its loss (or energy) and its training; its expressions reach into the model's.
    `input_name` makes an input's name of a value's; of a value that is `in_unit` it is known that it lies in [0, 1]. `given`
    are inputs of the block's own (visible units) and what the model computes for them.
    """
    whole = block.copy(equations={**model.equations, **block.equations}, names={**model.names, **block.names},
                       surgery=dict(model.surgery), sizes=model.sizes, params=model.params, lengths=())
    nodes, _ = reached(whole, block.roots())
    frozen = {*block.training.freeze, *(p for s in model.pretraining if isinstance(s, Pretraining) for p in s.params)}
    moving = _moving(whole, nodes, {p for p in _read(nodes, block) if p not in frozen})
    fed = _constants(model, whole, block.roots(), moving)
    values = {e: Input(input_name(n), e.axes, e.shape, e.type) for e, n in fed.items()}
    stats = {k: s for k, s in model.stats.items() if any(r in moving for r in batch_reductions(s.update))}
    whole = replace(whole, surgery={n.name: model.surgery[n.name] for n in nodes
                                    if isinstance(n, Intercept) and n in moving and n.name in model.surgery},
                    stats={**stats, **block.stats}).rewrite(values)
    unit = [x.name for e, x in values.items() if in_unit(e)]
    return Pretraining(name, _alone(model, block, whole, frozen, [*values.values()], unit),
                       (*((x.name, e) for e, x in values.items()), *(given or {}).items()))


def _read(nodes: Iterable[Expr], block: System) -> dict[str, None]:
    found = dict.fromkeys(n.name for n in nodes if isinstance(n, Param))
    return {**found, **dict.fromkeys(p for x in block.penalties for p in x.params)}


def _moving(system: System, nodes: list[Expr], trained: set[str]) -> set[Expr]:
    """The nodes that depend on a trained parameter, through references, too."""
    out: set[Expr] = set()
    while True:
        before = len(out)
        for n in nodes:
            if (isinstance(n, Param) and n.name in trained) or any(a in out for a in n.args) or (
                    isinstance(n, Ref) and system.equations[n.name] in out):
                out.add(n)
        if len(out) == before:
            return out


def _constants(model: System, whole: System, roots: Iterable[Expr], moving: set[Expr]) -> dict[Expr, str]:
    """The topmost named values of the model that the block reads and does not change, and their names."""
    named = {e: n for n, e in reversed(model.equations.items())
             if BATCH in e.axes and e not in moving and not isinstance(e, Input | Const | Ref)}
    found: dict[Expr, str] = {}
    seen: set[Expr] = set()
    stack = [*roots]
    while stack:
        n = stack.pop()
        if n in seen:
            continue
        seen.add(n)
        if n in named:
            found[n] = named[n]
        else:
            stack.extend(reversed((whole.equations[n.name],) if isinstance(n, Ref) else n.args))
    order = [*model.equations]
    return dict(sorted(found.items(), key=lambda item: order.index(item[1])))


def _alone(model: System, block: System, whole: System, frozen: set[str], values: list[Input], unit: list[str]) -> System:
    """Of the whole what the block needs: its own equations, and those of the model that its training changes."""
    own = replace(whole, equations={k: whole.equations[k] for k in block.equations})
    nodes, named = reached(whole, own.roots())
    seen = set(nodes)
    equations = {k: e for k, e in whole.equations.items()
                 if k in block.equations or k in named or (e in seen and k in model.equations and e.args)}
    inputs = {k: i for k, i in model.inputs.items() if i in seen}
    lengths = tuple(a for a in model.lengths if any(a in n.axes for n in nodes))
    inputs |= {f"lengths_{a}": model.inputs[f"lengths_{a}"] for a in lengths}
    inputs |= {i.name: i for i in (*values, *block.inputs.values())}
    read = _read(nodes, block)
    params = {k: p for k, p in model.params.items() if k in read}
    domains = {**{k: d for k, d in model.domains.items() if k in inputs}, **dict.fromkeys(unit, "unit"), **block.domains}
    return replace(
        own, name=block.name, sizes=dict(model.sizes), inputs=inputs, domains=domains, params=params, equations=equations,
        targets=tuple(k for k in model.targets if k in inputs), lengths=lengths,
        training=replace(block.training, freeze=tuple(k for k in params if k in frozen)),
        names={e: n for e, n in whole.names.items() if e in seen and not isinstance(e, Input | Param)},
        spans={**model.spans, **block.spans}, pretraining=())


def feeding(model: System, part: Pretraining) -> System:
    """The system whose outputs are what a block is fed."""
    feeds = dict(part.feeds)
    return model.copy(equations={**model.equations, **feeds}, outputs=tuple(feeds), loss=None, penalties=(), metrics={},
                      training=Training(), feedback=None, pretraining=(), targets=())


def only_pretrained(model: System) -> tuple[str, ...]:
    """The parameters that the recipe reads and the model itself does not: the visible biases of a stack, say."""
    recipe = dict.fromkeys(p for s in model.pretraining if isinstance(s, Pretraining) for p in s.system.params)
    read = _read(model.nodes(), model)
    return tuple(p for p in recipe if p not in read)


__all__ = ["Pretraining", "Setting", "Stage", "cut_out", "feeding", "only_pretrained"]
