"""The state of a run, all of it: what a checkpoint holds, and what a resumed run starts from.

A run is determined by its seed, its options and its data: the order of the examples in an epoch is drawn from (seed,
epoch), and noise from the seed and the step in the optimiser's state. So a run that goes on from a checkpoint takes the same
steps, bit for bit, as one that was never interrupted.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .errors import OptionError, WeightsError
from .ragged import Part, Ragged
from .weights import load_arrays, save_arrays

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]


class Program(Protocol):
    """What the trainer calls of a compiled model: the contract of every generated module.

    Of a model with `truncate`, predict and evaluate take `carry` and their result has an entry "carry", loss_and_grads gives
    (loss, gradients, carry), and train_step (loss, carry).
    """

    def init(self, seed: int = 0) -> Arrays: ...
    def init_state(self, params: Arrays, seed: int = 0) -> Arrays: ...
    def predict(self, params: Arrays, **inputs: Any) -> dict[str, Array]: ...
    def evaluate(self, params: Arrays, **inputs: Any) -> dict[str, Any]: ...
    def loss_and_grads(self, params: Arrays, *, workspace: Any = None, seed: Any = 0, **inputs: Any) -> tuple[Any, ...]: ...
    def train_step(self, params: Arrays, state: Arrays, *, workspace: Any = None, **inputs: Any) -> Any: ...
    def Workspace(self) -> Any: ...


@dataclass(frozen=True)
class Options:
    """What a run was asked for. `batch` 0 is the full batch; `patience` None never stops early."""

    epochs: int = 10
    batch: int = 32
    seed: int = 0
    schedule: str = "constant"
    schedule_options: tuple[tuple[str, float], ...] = ()
    patience: int | None = None
    truncate: int = 0                                # steps of a chunk that carries its state along; 0: sequences whole

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise OptionError(f"epochs: at least 1, not {self.epochs}")
        if self.batch < 0:
            raise OptionError(f"batch: at least 1, or 0 for the full batch, not {self.batch}")
        if self.seed < 0:
            raise OptionError(f"seed: an integer of at least 0, not {self.seed}")


@dataclass
class Run:
    """Where a run stands: arrays, and the position in the data (the next batch of the current epoch).

    `carry` is the state that the next chunk of a truncated sequence starts from.
    """

    params: Arrays
    state: Arrays
    best: Arrays = field(default_factory=dict)
    carry: Arrays = field(default_factory=dict)
    rate: float = 0.0                                # the declared learning rate, which the schedule multiplies
    epoch: int = 0                                   # epochs finished
    position: int = 0                                # batches taken of the current one
    total: float = 0.0                               # sum of loss * examples (or tokens) over these
    count: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    def copy(self) -> Run:
        """A run that shares no array with this one."""
        arrays: dict[str, Any] = {k: {n: copy(a) for n, a in getattr(self, k).items()} for k in _ARRAYS}
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        return Run(**arrays, **{**rest, "history": [dict(row) for row in self.history]})


_ARRAYS = ("params", "state", "best", "carry")


def fingerprint(arrays: Part) -> str:
    """A checksum of the training data, by which a resumed run knows them again."""
    crc = 0
    plain: Arrays = {}
    for name, found in arrays.items():
        plain |= {name: found.values, f"{name}.offsets": found.offsets} if isinstance(found, Ragged) else {name: found}
    for name in sorted(plain):
        a = np.ascontiguousarray(plain[name])
        crc = zlib.crc32(a.view(np.uint8).reshape(-1).data, zlib.crc32(f"{name}{a.shape}{a.dtype}".encode(), crc))
    return f"{crc:08x}"


def save_run(path: Path, run: Run, options: Options, extra: Mapping[str, Any]) -> None:
    """Write the whole run to one file, atomically; `extra` is JSON that `load_run` hands back."""
    arrays = {f"{kind}/{name}": np.asarray(a) for kind in _ARRAYS for name, a in getattr(run, kind).items()}
    rest = {f.name: getattr(run, f.name) for f in fields(run) if f.name not in _ARRAYS}
    save_arrays(path, arrays, {"run": rest, "options": asdict(options), "extra": dict(extra), "kind": "checkpoint"})


def load_run(path: Path) -> tuple[Run, Options, dict[str, Any]]:
    """The run of a checkpoint, the options that it was started with, and `extra`."""
    arrays, note = load_arrays(path)
    if note.get("kind") != "checkpoint":
        raise WeightsError(f"{path} is not a checkpoint of a run")
    parts: dict[str, Any] = {kind: {} for kind in _ARRAYS}
    try:
        for name, a in arrays.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = int(a) if kind == "carry" and "[" not in rest else a     # t, the offset, is a number
        options = dict(note["options"])
        options["schedule_options"] = tuple((k, v) for k, v in options["schedule_options"])
        return Run(**parts, **note["run"]), Options(**options), note["extra"]
    except (KeyError, TypeError, ValueError):
        raise WeightsError(f"{path} was written by another version of chainrule, and cannot be resumed") from None


def check_fit(path: Path, run: Run, fresh: Arrays, state: Arrays) -> None:
    """Refuses a checkpoint of another model; arrays come in the model's own order afterwards."""
    for kind, expected in (("params", fresh), ("state", state)):
        found: Arrays = getattr(run, kind)
        for name, array in expected.items():
            if name not in found:
                raise WeightsError(f"{path} does not fit: the model has {name}, the checkpoint has not")
            if found[name].shape != array.shape or found[name].dtype != array.dtype:
                raise WeightsError(f"{path} does not fit: {name} is {found[name].dtype} {found[name].shape} there and "
                                   f"{array.dtype} {array.shape} in the model")
        extra = [name for name in found if name not in expected]
        if extra:
            raise WeightsError(f"{path} does not fit: the checkpoint has {extra[0]}, the model has not")
        setattr(run, kind, {name: found[name] for name in expected})
