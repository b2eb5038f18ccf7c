"""Writes examples/*/generated anew: `python -m tests.examples.regenerate [name ...]` from the repository's root."""

from __future__ import annotations

import sys
from pathlib import Path

import chainrule as cr
from chainrule.backends.native.standalone import standalone

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NAMES = tuple(sorted(p.parent.name for p in EXAMPLES.glob("*/model.nn")))
PLAIN = ("autoencoder_tied", "logistic_regression", "min_char_rnn", "mlp")      # also printed for reading (-O0)
IN_C = ("char_rnn_c",)                                                          # also printed as a C file
IN_CUDA = ("char_lstm",)                                                        # also printed for CuPy

SCHEDULES = {"rnn_unrolled": {"unroll": "full", "steps": 3}}             # examples that show another schedule


def generated(name: str) -> dict[Path, str]:
    """The generated modules of an example, by path."""
    model = cr.load(EXAMPLES / name / "model.nn")
    levels = {"model_np.py": 1, **({"model_np_O0.py": 0} if name in PLAIN else {})}
    schedule = SCHEDULES.get(name, {})
    modules = {file: cr.compile(model, level=level, **schedule) for file, level in levels.items()}
    modules |= {f"model_np_{block}.py": cr.compile(part) for block, part in model.pretraining.items()}
    if name in IN_CUDA:
        modules["model_cupy.py"] = cr.compile(model, backend="cupy")
    texts = {file: module.source for file, module in modules.items()}
    if name in IN_C:
        files = standalone(model.system)
        texts |= {f"{files.name}.c": files.source, f"{files.name}.h": files.header}
    return {EXAMPLES / name / "generated" / file: text for file, text in texts.items()}


def main(names: tuple[str, ...]) -> None:
    """Write what differs, and say so."""
    for name in names or NAMES:
        for path, source in generated(name).items():
            path.parent.mkdir(exist_ok=True)
            if not path.is_file() or path.read_bytes() != source.encode():
                path.write_bytes(source.encode())
                print(path.relative_to(EXAMPLES.parent))


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
