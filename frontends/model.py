"""A model as people hold it in Python: a system, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.interface import CompiledModel, compile_for
from ..compiler.graph import BATCH, Expr, Input, length
from ..compiler.options import Options
from ..compiler.system import System

if TYPE_CHECKING:
    import networkx as nx

Directions = Mapping[str, Expr] | Sequence[str]          # expressions by parameter or input, or names alone


class Model:
    """A model: its `system`, its gradient as formulas, its reading graph. Prints as its own text."""

    def __init__(self, system: System) -> None:
        self.system = system

    @property
    def pretraining(self) -> dict[str, Model]:
        """The pretrain blocks as models of their own, in the order in which they are trained."""
        from ..compiler.recipe import Pretraining
        return {s.name: Model(s.system) for s in self.system.pretraining if isinstance(s, Pretraining)}

    def gradient(self, wrt: str | None = None) -> Formula:
        """The derived gradient by one parameter, or by all; KeyError names an unknown one."""
        if wrt is not None and wrt not in self.system.params:
            raise KeyError(f"{self.system.name} has no parameter {wrt!r}; it has {', '.join(self.system.params)}")
        return Formula(self.system, wrt)

    def graph(self) -> nx.DiGraph:
        """The reading graph: an edge from every value to the equations that read it; delays on the edges."""
        from .showing.network import graph
        return graph(self.system)

    def compile(self, backend: str = "numpy", dtype: str = "float32", level: int = 1, **schedule: Any) -> CompiledModel:
        """The model compiled for a backend; see `compile`."""
        return compile_for(self.system, backend, dtype, level, Options(**schedule))

    def __str__(self) -> str:
        from .language.printing import to_text
        return to_text(self.system)

    def __repr__(self) -> str:
        s = self.system
        return f"<chainrule model {s.name}: {len(s.equations)} equations, {len(s.params)} parameters>"

    def _repr_html_(self) -> str:
        from .showing.rich_repr import model_html
        return model_html(self.system)

    def _repr_latex_(self) -> str:
        from .showing.rich_repr import model_latex
        return f"$${model_latex(self.system)}$$"

    def __rich__(self) -> Any:
        from .showing.rich_repr import model_rich
        return model_rich(self.system)


@dataclass(frozen=True)
class Formula:
    """A derived gradient, as text, LaTeX or code."""

    system: System
    wrt: str | None

    def __str__(self) -> str:
        from .showing import grad_text
        return grad_text(self.system, self.wrt, "formula")

    def latex(self) -> str:
        """The equations as LaTeX."""
        from .showing import grad_text
        return grad_text(self.system, self.wrt, "latex")

    def code(self) -> str:
        """The lines of the generated module that compute it."""
        from .showing import grad_text
        return grad_text(self.system, self.wrt, "code")

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"


@dataclass(frozen=True)
class Derived:
    """Derivatives as expressions over an extended system, which may be differentiated again."""

    system: System
    values: dict[str, Expr]

    def evaluate(self, params: Mapping[str, Any], **inputs: Any) -> dict[str, Any]:
        """The numbers, in float64; arrays come batch first."""
        import numpy as np

        from ..compiler.interpret import evaluate
        arrays = {k: _inside(self.system, k, v) for k, v in inputs.items()}
        given = {**{k: np.asarray(v) for k, v in params.items()}, **arrays}
        lengths = {str(length(a)): n for k, v in arrays.items() for a, n in zip(self.system.inputs[k].axes, np.shape(v))}
        return dict(zip(self.values, evaluate(self.system, list(self.values.values()), given, lengths), strict=True))


def load(path: str | Path) -> Model:
    """A model from its file. ModelError says what is wrong, and where."""
    from .language import load as load_system
    return Model(load_system(path))


def parse(text: str, file: str = "<text>") -> Model:
    """A model from its text. ModelError says what is wrong, and where."""
    from .language import parse as parse_system
    return Model(parse_system(text, file))


def compile(model: Model | System, backend: str = "numpy", dtype: str = "float32", level: int = 1, *, unroll: int | str = 1,
            steps: int | None = None, checkpoint: str | None = None, persistent: bool = True, products: str = "float32",
            atomics: bool = False) -> CompiledModel:
    """The model compiled for a backend: a generated module with its functions as methods.

    `unroll`: how many steps of time a loop's body holds, or "full", which needs the number of `steps`. `checkpoint`: "sqrt",
    "every 50" (steps) or "memory 200MB": chunks of time that are computed anew going back. None of them changes a value.

    On a GPU: `persistent=False` launches every step of a loop by itself; `products` ("float32", "tf32", "bf16") is how matrix
    products round what they multiply; `atomics=True` adds rows up by class in whatever order they come.
    """
    options = Options(unroll, steps, checkpoint, persistent, products, atomics)
    return compile_for(_system(model), backend, dtype, level, options)


def grad(model: Model | System, wrt: str | Sequence[str] | None = None) -> Derived:
    """d objective / d w for parameters (all by default), shape w.shape."""
    from ..compiler import derivatives
    system, names = _asked(model, wrt)
    extended, values = derivatives.grad(system, system.objective(), [_node(system, k) for k in names])
    return Derived(extended, dict(zip(names, values, strict=True)))


def jvp(model: Model | System, outputs: Sequence[str], directions: Directions) -> Derived:
    """How equations change where parameters or inputs move along directions."""
    from ..compiler import derivatives
    system, along = _along(_system(model), directions)
    extended, values = derivatives.jvp(system, [system.equations[k] for k in outputs],
                                       {_node(system, k): d for k, d in along.items()})
    return Derived(extended, dict(zip(outputs, values, strict=True)))


def hvp(model: Model | System, directions: Directions) -> Derived:
    """The objective's Hessian times a direction, by each parameter in `directions`."""
    from ..compiler import derivatives
    system, along = _along(_system(model), directions)
    nodes = [_node(system, k) for k in along]
    extended, values = derivatives.hvp(system, system.objective(), nodes, list(along.values()))
    return Derived(extended, dict(zip(along, values, strict=True)))


def jacobian(model: Model | System, output: str, wrt: str) -> Derived:
    """d output[i] / d w[k]: shape output.shape + w.shape."""
    from ..compiler import derivatives
    system = _system(model)
    extended, value = derivatives.jacobian(system, system.equations[output], _node(system, wrt))
    return Derived(extended, {f"{output}/{wrt}": value})


def hessian(model: Model | System, wrt: str, other: str | None = None) -> Derived:
    """d2 objective / d w[i] d v[k]: shape w.shape + v.shape."""
    from ..compiler import derivatives
    system = _system(model)
    extended, value = derivatives.hessian(system, system.objective(), _node(system, wrt), _node(system, other or wrt))
    return Derived(extended, {f"{wrt}/{other or wrt}": value})


def check_gradients(model: Model | System, params: Mapping[str, Any], order: int = 2, **inputs: Any) -> Any:
    """Derived gradients against central differences in float64, along random directions; raises where they differ."""
    from ..compiler.check import check_gradients as check
    system = _system(model)
    given = {**params, **{k: _inside(system, k, v) for k, v in inputs.items()}}
    return check(system, given, order=order).require()


def _along(system: System, directions: Directions) -> tuple[System, dict[str, Expr]]:
    """Directions as expressions: those that are only named become inputs, `along_W`, of which `evaluate` gets the arrays."""
    if isinstance(directions, Mapping):
        return system, dict(directions)
    nodes = {k: _node(system, k) for k in ([directions] if isinstance(directions, str) else directions)}
    along = {k: Input(f"along_{k}", n.axes, n.shape) for k, n in nodes.items()}
    return system.copy(inputs={**system.inputs, **{i.name: i for i in along.values()}}), dict(along)


def _system(model: Model | System) -> System:
    return model.system if isinstance(model, Model) else model


def _inside(system: System, name: str, value: Any) -> Any:
    """An input in the graph's order of axes: time first, where the caller's has the batch first."""
    import numpy as np
    axes = system.inputs[name].axes
    return np.moveaxis(value, 0, len(axes) - 1) if BATCH in axes else np.asarray(value)


def _asked(model: Model | System, wrt: str | Sequence[str] | None) -> tuple[System, list[str]]:
    system = _system(model)
    return system, [wrt] if isinstance(wrt, str) else list(wrt if wrt is not None else system.params)


def _node(system: System, name: str) -> Expr:
    if name in system.params:
        return system.params[name].node
    if name in system.inputs:
        return system.inputs[name]
    raise KeyError(f"{system.name} has no parameter or input {name!r}")
