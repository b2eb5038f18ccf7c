"""What the commands share: consoles, loading a model, sizes from the command line, and mistakes as sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..trainer.errors import OptionError, RunError, did_you_mean

if TYPE_CHECKING:
    from rich.console import Console

    from ...compiler.system import System


def console(stderr: bool = False) -> Console:
    from rich.console import Console
    return Console(stderr=stderr, highlight=False)


def guarded(action: Callable[[], None]) -> int:
    """Runs a command; what is wrong with a model, data or an option is printed, and the exit status is 1.

    With CHAINRULE_DEBUG set, a mistake of the compiler itself shows its trace.
    """
    from ...backends.interface import NoBackend, NoCompiler, NoDevice
    from ..language.diagnostics import ModelError
    from ..showing import ShowingError
    try:
        action()
    except (RunError, ModelError, ShowingError, NoBackend, NoCompiler, NoDevice) as e:
        print(_text(e), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:                          # `chainrule show ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as e:
        print(f"error: {e.filename or ''}: {e.strerror or e}", file=sys.stderr)
        return 1
    except MemoryError as e:
        print(f"error: the memory does not suffice ({e}): take smaller sizes (--set) or a smaller batch", file=sys.stderr)
        return 1
    except Exception as e:
        if os.environ.get("CHAINRULE_DEBUG"):
            raise
        print(f"chainrule failed: {type(e).__name__}: {e}\nThis is a mistake of chainrule's, not of your model; "
              "CHAINRULE_DEBUG=1 shows where it happened.", file=sys.stderr)
        return 2
    return 0


def _text(e: Exception) -> str:
    """Its sentence; a model's errors bring their own heads, and what a C compiler says comes in the middle of one."""
    headed = ": error: " in str(e) and " cannot compile " not in str(e)
    return str(e) if headed else f"error: {e}"


def load_model(path: str | Path, settings: Iterable[str] = (), block: str | None = None) -> System:
    """The model of a file, with the sizes of `--set H=256` instead of its defaults; or one of its pretrain blocks."""
    from ..language import load
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise OptionError(f"the model file {path} {what}")
    system = load(path, parse_settings(settings))
    if block is None:
        return system
    if block not in blocks(system):
        raise OptionError(f"--block {block}: model {system.name} has no such pretrain block{did_you_mean(block, blocks(system))}")
    return blocks(system)[block]


def blocks(system: System) -> dict[str, System]:
    """The pretrain blocks of a model, by name, in their order."""
    from ...compiler.recipe import Pretraining
    return {s.name: s.system for s in system.pretraining if isinstance(s, Pretraining)}


def parse_settings(settings: Iterable[str]) -> dict[str, int]:
    """`H=256` as {"H": 256}."""
    sizes = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not value.strip().isdigit() or int(value) < 1:
            raise OptionError(f"--set {setting}: write SIZE=NUMBER, such as --set H=256")
        sizes[name.strip()] = int(value)
    return sizes


def require_training(system: System, what: str) -> None:
    """Refuses a model that has no loss, or no parameter that is trained."""
    if system.loss is None and system.energy is None:
        raise OptionError(f"model {system.name} has no loss, so there is nothing to {what}: loss = ... is what is minimised")
    if not system.trained():
        why = "all its parameters are frozen" if system.params else "it has no parameters"
        raise OptionError(f"model {system.name}: {why}, so there is nothing to {what}")


def c_files(system: System, header: str, dtype: str, **schedule: Any) -> Any:
    """The C file of a system, and its header of this name; NoBackend says what has no form in C."""
    from ...backends.interface import c_files as printed
    return printed(system, header, dtype, _options(schedule))


def _options(schedule: dict[str, Any]) -> Any:
    """unroll, steps, checkpoint, persistent, as the compiler takes them."""
    from ...compiler.options import BadOption, Options
    try:
        return Options(**schedule)
    except BadOption as e:
        raise OptionError(str(e)) from None


def fresh(program: Any, seed: int = 0) -> dict[str, Any]:
    """A program's fresh parameters as arrays of NumPy, wherever it computes."""
    return getattr(program, "to_host", dict)(program.init(seed=seed))


def compiled(system: System, backend: str = "numpy", dtype: str = "float32", level: int = 1, **schedule: Any) -> Any:
    """The program of a system; an unknown backend or precision is a NoBackend. `schedule`: unroll, steps, ..."""
    from ...backends.interface import compile_for
    return compile_for(system, which(backend), dtype, level, _options(schedule))


def which(backend: str) -> str:
    """The backend, of `auto` the one that there is; why it is that is said."""
    from ...backends.interface import chosen
    if backend != "auto":
        return backend
    backend, why = chosen()
    if why:
        print(why, file=sys.stderr)
    return backend
