"""Initial values and the training step of a standalone C file: the arrays of an update are fields of static structs."""

from __future__ import annotations

import re

from ...compiler.graph import Input
from ...compiler.optimisers import OPTIMISERS
from ...compiler.passes.naming import identifier
from ...compiler.pipeline import Compiled
from ...compiler.random import path_key
from ...compiler.sizes import Size, product, size
from ...compiler.system import Initialiser, System
from .kernels import length
from .standalone_function import word
from .updates import PAD, NativeUpdates


class StandaloneUpdates(NativeUpdates):
    """Prints the rule, what follows the gradient, and what comes before the first step."""

    parallel = False

    def __init__(self, compiled: Compiled, prefix: str) -> None:
        super().__init__(compiled, set())
        self.prefix = prefix

    @property
    def slots(self) -> list[str]:
        """The structs in which the optimiser keeps an array for every parameter."""
        return [f"{identifier(s)}_" for s in self.rule_.slots]

    def limit(self, e: Input) -> str:
        """How many values an input of indices may have; nothing for others."""
        return self._limit(e)

    def rule_text(self) -> str:
        """The optimiser's equations as functions."""
        name = self.training.optimiser
        doc = (OPTIMISERS[name][1].__doc__ or "").strip().split("\n")[0]
        parts = [self._function(f"{name}_", self.rule_.equations, doc)]
        if self.rule_.look is not None:
            parts.append(self._function(f"{name}_look_", {"w": self.rule_.look}, "Where the gradient is taken."))
        return "\n".join(parts)

    def look(self) -> list[str]:
        """The lines before the gradient."""
        lines = [line for line in self._looks().split("\n") if "_look_(" in line] if self.rule_.look is not None else []
        return [self._placed(x) for x in lines]

    def after(self) -> list[str]:
        """The lines after the gradient: statistics, clipping, the rule for every parameter, constraints."""
        name, rates, lines = self.training.optimiser, dict(self.training.rates), [*self._averages(), *self._clipped()]
        for k, n, _, given in self._arrays():
            lines.append(f"{name}_({self._all(n)}, {given}, {f'lr * {rates[k]!r}' if k in rates else 'lr'}, step);")
        return [PAD + self._placed(x).partition("  /*")[0].rstrip() for x in (*lines, *self._constrained())]

    def _placed(self, line: str) -> str:
        """The line where `array[k]` is the field that it stands for."""
        params, grads = f"{self.prefix}_params", f"{self.prefix}_grads"
        rank = {k: len(dims) for k, dims in shapes(self.system).items()}
        places = [(at, k) for k in self.trained for at in (params, grads, *self.slots)]
        places += [(at, k) for k in self.system.stats for at in (params, grads)]
        return re.sub(r"array\[(\d+)\]", lambda m: address(*places[int(m[1])], rank[places[int(m[1])][1]]), line)

    # ------------------------------------------------------------ initial values

    def init(self, trained: bool) -> str:
        """`init`: every parameter by its initialiser; the state of the first step, where it is to be `trained`."""
        options = {**OPTIMISERS[self.training.optimiser][0], **dict(self.training.options)}
        every = {**{k: (p.node.shape, p.init) for k, p in self.system.params.items()},
                 **{k: (s.node.shape, s.init) for k, s in self.system.stats.items()}}
        lines = [PAD + self._initial(k, dims, init) for k, (dims, init) in every.items()]
        if not trained:
            lines = lines if any("seed" in x for x in lines) else [*lines, f"{PAD}(void)seed;"]
            return "\n".join([f"void {self.prefix}_init(uint64_t seed)", "{", *lines, "}"]) + "\n"
        lines += [f"{PAD}{self.prefix}_state = (struct {self.prefix}_state){{seed, 0, {float(options['lr'])!r}}};"]
        kept = (*self.slots, *(f"{word(k)}_" for k in self.compiled.chain))
        lines += [f"{PAD}memset(&{s}, 0, sizeof {s});" for s in kept]
        return "\n".join([f"void {self.prefix}_init(uint64_t seed)", "{", *lines, "}"]) + "\n"

    def _initial(self, key: str, dims: tuple[Size, ...], init: Initialiser) -> str:
        v, n = init.values, length(product(dims))
        target = address(f"{self.prefix}_params", key, len(dims))
        if init.kind == "constant":
            return f"fill_({n}, {float(v[0])!r}, {target});"
        if init.kind == "identity":
            return f"identity_({length(dims[0])}, {length(dims[1])}, {float(v[0]) if v else 1.0!r}, {target});"
        drawn = f"seed, UINT64_C({path_key(key):#x})"
        inputs, outputs = length(product(dims[1:] or dims)), length(product((*dims[:1], *dims[2:])))
        match init.kind:
            case "normal":
                return f"normal_values_({drawn}, {n}, {float(v[0])!r}, 1, {target});"
            case "uniform":
                return f"uniform_values_({drawn}, {n}, {float(v[0])!r}, {float(v[1])!r}, 1, {target});"
            case "xavier":
                return f"normal_values_({drawn}, {n}, 1, sqrt({inputs}), {target});"
            case "he":
                return f"normal_values_({drawn}, {n}, sqrt(2.0 / ({inputs})), 1, {target});"
            case "glorot":
                return f"uniform_values_({drawn}, {n}, -1, 1, sqrt(6.0 / ({inputs} + {outputs})), {target});"
            case "orthogonal":
                return f"orthogonal_({drawn}, {length(dims[0])}, {length(product(dims[1:]))}, orthogonal_scratch_, {target});"
        raise ValueError(f"no initialiser is called {init.kind}")

    def scratch(self) -> list[Size]:
        """The numbers that the largest orthogonal parameter needs while it is drawn."""
        return [product(p.node.shape) for p in self.system.params.values() if p.init.kind == "orthogonal"] or [size(0)]


def shapes(system: System) -> dict[str, tuple[Size, ...]]:
    """The shapes of parameters and statistics."""
    return {**{k: p.node.shape for k, p in system.params.items()}, **{k: s.node.shape for k, s in system.stats.items()}}


def address(struct: str, key: str, rank: int) -> str:
    """The first number of a parameter's field."""
    field = f"{struct}.{word(key)}"
    return (f"&{field}", field, f"{field}[0]")[rank] if rank < 3 else f"(real *){field}"
