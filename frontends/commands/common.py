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
    from ..language.diagnostics import ModelError
    try:
        action()
    except (RunError, ModelError) as e:
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
    except Exception as e:
        if os.environ.get("CHAINRULE_DEBUG"):
            raise
        print(f"chainrule failed: {type(e).__name__}: {e}\nThis is a mistake of chainrule's, not of your model; "
              "CHAINRULE_DEBUG=1 shows where it happened.", file=sys.stderr)
        return 2
    return 0


def _text(e: Exception) -> str:
    return f"error: {e}" if isinstance(e, RunError) else str(e)


def load_model(path: str | Path, settings: Iterable[str] = ()) -> System:
    """The model of a file, with the sizes of `--set H=256` instead of its defaults."""
    from ..language import load
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise OptionError(f"the model file {path} {what}")
    sizes = parse_settings(settings)
    system: System = load(path)
    return with_sizes(system, sizes) if sizes else system


def parse_settings(settings: Iterable[str]) -> dict[str, int]:
    """`H=256` as {"H": 256}."""
    sizes = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not value.strip().isdigit() or int(value) < 1:
            raise OptionError(f"--set {setting}: write SIZE=NUMBER, such as --set H=256")
        sizes[name.strip()] = int(value)
    return sizes


def with_sizes(system: System, sizes: dict[str, int]) -> System:
    """The system with other values for its declared sizes."""
    for name in sizes:
        if name not in system.sizes:
            raise OptionError(f"--set {name}: model {system.name} has no size {name}{did_you_mean(name, system.sizes)}")
    return system.copy(sizes={**system.sizes, **sizes})


def compiled(system: System, backend: str = "numpy", dtype: str = "float32", **options: Any) -> Any:
    """The program of a system; an unknown backend or precision is an OptionError."""
    from ... import compile as compile_system
    known = ("float32", "float64")
    if dtype not in known:
        raise OptionError(f"--dtype {dtype}: there is no such precision{did_you_mean(dtype, known)}")
    backends = ("numpy",)
    if backend not in backends:
        raise OptionError(f"--backend {backend}: there is no such backend{did_you_mean(backend, backends)}")
    return compile_system(system, backend=backend, dtype=dtype, **options)
