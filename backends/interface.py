"""What every backend offers: a compiled model whose functions are a generated module's."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..compiler.graph import GraphError
from ..compiler.options import Options
from ..compiler.system import System
from .cpu.program import Program
from .gpu.program import CudaProgram
from .gpu.program import NoDevice as NoDevice
from .native.build import NoCompiler, compiler_command
from .native.program import NativeProgram
from .native.standalone import CFiles, standalone
from .native.threads import set_all_threads, threads

Arrays = dict[str, Any]


class CompiledModel(Protocol):
    """A model compiled for one target; see the table of functions in the README.

    Of a truncated model, the four functions take `carry=None`; `loss_and_grads` and `train_step` return (loss, grads, carry) and
    (loss, carry), the dicts of `predict` and `evaluate` have an entry "carry".
    """

    backend: str
    filename: str                                                # what a run calls the module
    system: System
    source: str
    lines: dict[str, list[int]]

    def init(self, seed: int = 0) -> Arrays: ...

    def predict(self, params: Arrays, **inputs: Any) -> Arrays: ...

    def evaluate(self, params: Arrays, **inputs: Any) -> Arrays: ...

    def loss_and_grads(self, params: Arrays, *, workspace: Any = None, seed: Any = 0, **inputs: Any) -> tuple[Any, ...]: ...

    def train_step(self, params: Arrays, state: Arrays, **inputs: Any) -> Any: ...

    def init_state(self, params: Arrays, seed: int = 0) -> Arrays: ...

    def start(self, params: Arrays, **inputs: Any) -> Arrays: ...

    def step(self, params: Arrays, carry: Arrays, **inputs: Any) -> tuple[Arrays, Arrays]: ...

    def generate(self, params: Arrays, length: int, seed: Any = 0, **inputs: Any) -> Any: ...

    def save(self, path: str | Path) -> Path: ...


class NumpyInstead(RuntimeWarning):
    """Why "auto" is not "native"."""


class NoBackend(ValueError):
    """A backend that does not exist, or that cannot do what a model asks for."""


def compile_for(system: System, backend: str = "numpy", dtype: str = "float32", level: int = 1,
                options: Options | None = None) -> CompiledModel:
    """The system compiled for a backend by name; `level` 0 prints for reading, 1 for speed; `options` are its schedule.

    "auto" is "native" where there is a C compiler, else "numpy", with a warning that says why.
    """
    if backend == "auto":
        backend, why = chosen()
        if why:
            warnings.warn(why, NumpyInstead, stacklevel=3)
    if backend not in BACKENDS:
        raise NoBackend(f"no backend is called {backend!r}; there is {', '.join(sorted(BACKENDS))}, and auto")
    if dtype not in ("float32", "float64"):
        raise NoBackend(f"the dtype is float32 or float64, not {dtype!r}")
    try:
        if backend == "native":
            available()
        return BACKENDS[backend](system, dtype, level, (options or Options()).over(system.training.checkpoint))
    except NoCompiler as e:
        raise NoBackend(str(e)) from None
    except GraphError as e:                                      # a name that is taken, a form that has no code
        raise NoBackend(f"{system.name}: {e}") from None


def set_threads(many: int) -> None:
    """So many threads share the work of every native model of this process, those that are loaded already included.

    The same is computed, to the bit. It goes before CHAINRULE_THREADS and its like; NumPy's products have threads of their own.
    ValueError: `many` is no whole number from 1 on.
    """
    if isinstance(many, bool) or not isinstance(many, int) or many < 1:
        raise ValueError(f"the number of threads must be a whole number from 1 on, not {many!r}")
    set_all_threads(many)  # type: ignore[no-untyped-call]


def c_files(system: System, header: str = "", dtype: str = "float32", options: Options | None = None) -> CFiles:
    """The system as one C file and its header, of that name; NoBackend says what has no form there."""
    if dtype not in ("float32", "float64"):
        raise NoBackend(f"the dtype is float32 or float64, not {dtype!r}")
    try:
        return standalone(system, options, header, dtype)
    except GraphError as e:
        raise NoBackend(f"{system.name}: {e}") from None


def chosen() -> tuple[str, str]:
    """What "auto" stands for on this machine, and a sentence where that is not the fastest."""
    try:
        available()
    except NoCompiler as e:
        return "numpy", f"--backend auto takes numpy: {e}"
    return "native", ""


def available() -> None:
    """Whether the native backend can run here. NoCompiler says what it lacks."""
    compiler_command()                                           # type: ignore[no-untyped-call]
    try:
        threads()                                                # type: ignore[no-untyped-call]
    except ValueError as e:
        raise NoCompiler(str(e)) from None


BACKENDS: dict[str, Callable[[System, str, int, Options], CompiledModel]] = {"numpy": Program, "native": NativeProgram,
                                                                                 "cupy": CudaProgram}
