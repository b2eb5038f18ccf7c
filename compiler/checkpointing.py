"""Gradient checkpointing in time: the gradient of a system as functions over chunks of steps.

    chunk_start             what all steps share, and what the first chunk starts from
    chunk_forward     the sums of a chunk, and what the next one starts from
    top               the objective, from the sums of all chunks, and its derivative by each sum
    chunk_backward    the chunk once more, and from the derivatives by its sums and by what it handed on: its share of the
                      parameters' gradients, and the derivatives by what it started from
    chunk_start_backward    what reaches the parameters through the first chunk's start and through what is shared

A forward sweep keeps what each chunk starts from and nothing else; the backward sweep computes one chunk at a time. Memory is
that of one chunk and of the starts. Which values are what, `passes.chunks` says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from .gradient import is_zero, pullback
from .graph import REAL, Const, Expr, GraphError, Input
from .passes.chunks import Chunks, cut, place
from .passes.finish import finish
from .passes.hoist import hoisted
from .passes.pack import by_members, pack, unpacked
from .passes.preactivations import name_preactivations
from .passes.simplify import simplify_memo
from .surgery import without_surgery
from .system import System
from .truncation import along

Lower = Callable[[str, System, dict[str, Expr], tuple[str, ...], tuple[str, ...]], None]


@dataclass
class Piece:
    """One function: its system, its results by kind, and the system whose formulas explain it.

    results: {"sum": {key: expression}, "after": ..., "d_sum": ..., "d_slot": ..., "d_value": ..., "": the objective}
    """

    system: System
    explained: System
    results: dict[str, dict[str, Expr]] = field(default_factory=dict)
    gradients: dict[str, Expr] = field(default_factory=dict)     # parameter -> what reaches it here


@dataclass
class Chunked:
    """A system's gradient in chunks along an axis."""

    chunks: Chunks
    pieces: dict[str, Piece] = field(default_factory=dict)

    def derivative(self, kind: str, key: str) -> Input:
        """The adjoint of a value that passes between the functions: an input of those that go backwards."""
        inputs = {"value": self.chunks.shared, "sum": self.chunks.crossings, "slot": {x.key: x.node for x in self.chunks.slots}}
        of = inputs["slot" if kind == "after" else kind][key]
        return Input(f"d_carry[{key}]" if kind == "after" else f"d_{of.name}", of.axes, of.shape)


def chunked(system: System, trained: tuple[str, ...], lower: Lower) -> Chunked:
    """The functions of a system with the equation `loss*`; each goes to `lower(name, system, roots, results, trained)`."""
    if system.training.truncate is not None:
        raise GraphError("checkpoint and truncate exclude each other: leave checkpoint out, a chunk of truncate is as short as "
                         "one likes")
    if not trained:
        raise GraphError("checkpoint: the model has no parameter to train, and so no gradient")
    roots = [system.equations["loss*"], *(s.update for s in system.stats.values())]
    try:
        out = Chunked(cut(system, along(system), roots))
    except GraphError as e:
        raise GraphError(f"checkpoint: {e}") from None
    _forwards(out)
    _backwards(out, trained)
    for name, piece in out.pieces.items():
        _lowered(name, piece, lower)
    return out


def _forwards(out: Chunked) -> None:
    if out.chunks.start.equations:
        out.pieces["chunk_start"] = _forward(out.chunks.start, ("value", "slot"))
    out.pieces["chunk_forward"] = _forward(out.chunks.chunk, ("sum", "after"))


def _backwards(out: Chunked, trained: tuple[str, ...]) -> None:
    """What goes back: only what has a derivative that is not zero by its form."""
    c = out.chunks
    slots, values = _real({x.key: x.node for x in c.slots}), _real(c.shared)
    top = out.pieces["top"] = _pulled(c.top, [(c.top.equations["loss*"], Const(1))], trained,
                                      {"sum": _real(c.crossings), "value": values})
    while True:
        seeds = [(c.chunk.equations[place(kind, k)], out.derivative(kind, k))
                 for kind, keys in (("sum", top.results["d_sum"]), ("after", slots)) for k in keys]
        back = out.pieces["chunk_backward"] = _pulled(c.chunk, seeds, trained, {"slot": slots, "value": values})
        dead = [k for k in slots if k not in back.results["d_slot"]]
        if not dead:
            break
        slots = {k: n for k, n in slots.items() if k not in dead}
    live = {"slot": {*slots}, "value": {*back.results["d_value"], *top.results["d_value"]}}
    seeds = [(e, out.derivative(kind, k)) for name, e in c.start.equations.items() for kind, _, k in [name.partition(" ")]
             if k in live.get(kind, ())]
    if seeds:
        last = _pulled(c.start, seeds, trained, {})
        if last.gradients:
            out.pieces["chunk_start_backward"] = last


def _real(nodes: Mapping[str, Input]) -> dict[str, Input]:
    return {k: n for k, n in nodes.items() if n.type == REAL}


def _lowered(name: str, piece: Piece, lower: Lower) -> None:
    roots = {place(kind, k): e for kind, found in piece.results.items() for k, e in found.items()}
    grads = {f"d_{k}": e for k, e in piece.gradients.items()}
    stats = {k: s.update for k, s in piece.system.stats.items()} if name == "top" else {}
    if name == "top":
        roots = {"loss": piece.system.equations["loss*"], **roots}
    lower(name, piece.system, {**roots, **grads, **stats}, (*grads, *stats), tuple(piece.gradients))


def _forward(system: System, kinds: tuple[str, ...]) -> Piece:
    """A system that is only computed."""
    system, packs = pack(name_preactivations(without_surgery(system)))
    explained = hoisted(system.mapped(simplify_memo(system.roots(), system.sizes)))
    final = unpacked(finish(explained), packs)
    return Piece(final, explained, _named(final, kinds))


def _named(system: System, kinds: tuple[str, ...]) -> dict[str, dict[str, Expr]]:
    """The equations that pass a value on, by kind."""
    return {kind: {k.removeprefix(f"{kind} "): e for k, e in system.equations.items() if k.startswith(f"{kind} ")}
            for kind in kinds}


def _pulled(system: System, seeds: Sequence[tuple[Expr, Expr]], trained: tuple[str, ...],
            wrt: dict[str, dict[str, Input]]) -> Piece:
    """A system's adjoint from given seeds: the gradients of parameters that are reached, and the adjoints of `wrt` by kind."""
    system = system.copy()
    system.equations.update({place("seed", str(i)): e for i, (e, _) in enumerate(seeds)})
    system, packs = pack(system)
    system = name_preactivations(system)
    params = {k: system.params[k].node for k in trained}
    others = {place(f"d_{kind}", k): n for kind, nodes in wrt.items() for k, n in nodes.items()}
    outputs: dict[Expr, Expr] = {}
    for i, (_, seed) in enumerate(seeds):                        # one value may be passed on as two
        e = system.equations.pop(place("seed", str(i)))
        outputs[e] = outputs[e] + seed if e in outputs else seed
    adjoint = pullback(system, outputs, [*params.values(), *packs, *others.values()])
    extended = adjoint.system
    grads = by_members(adjoint, params, packs)
    extended.equations.update(grads)
    extended.equations.update({k: adjoint.grads[n] for k, n in others.items()})
    extended = without_surgery(extended)
    memo = simplify_memo(extended.roots(), system.sizes)
    explained = hoisted(extended.mapped(memo))
    final = unpacked(finish(explained), packs)
    found = {k: final.equations[f"d_{k}"] for k in trained if not is_zero(final.equations[f"d_{k}"])}
    results = {kind: {k: e for k, e in found.items() if not is_zero(e)}
               for kind, found in _named(final, tuple(f"d_{kind}" for kind in wrt)).items()}
    return Piece(final, explained, results, found)
