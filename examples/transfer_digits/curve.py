"""Transfer against training from scratch, by how many examples of the new digits there are: `python curve.py`.

base.nn learns the digits 0 to 4; head.nn then learns 5 to 9 from 1 to 50 examples of each: from scratch, with the base's
convolutions as they are (frozen), and going on from them at a tenth of the rate. Every training takes 200 steps. Writes
curve.png and prints the errors on all 4861 test images of these digits: mean and standard deviation over five draws of the
examples. MNIST is looked for as `chainrule train` does, or in the folder that is the first argument.
"""

import sys
from dataclasses import replace
from pathlib import Path

import chainrule as cr
import numpy as np
from chainrule.frontends.trainer.data import Dataset, from_arrays, load_data
from chainrule.frontends.trainer.loop import Trainer
from chainrule.frontends.trainer.run import Options

HERE = Path(__file__).parent
COUNTS, DRAWS, STEPS = (1, 2, 5, 10, 20, 50), 5, 200
SHARED = ("conv1.W", "conv1.b", "conv2.W", "conv2.b")
WAYS = {"from scratch": {}, "convolutions frozen": {"freeze": SHARED},
        "convolutions at a tenth of the rate": {"rates": tuple((name, 0.1) for name in SHARED)}}


def trained(program, data: Dataset, epochs: int, seed: int, start=None):
    """The weights after training, and the test error."""
    batch = min(program.system.training.batch, len(data.parts["train"]["y"]))
    trainer = Trainer(program, data, Options(epochs, batch, seed))
    params = program.init(seed=seed)
    params.update({k: v.copy() for k, v in (start or {}).items()})
    trainer.start(params)
    params = trainer.train().params
    return params, trainer.evaluate("test", params)["error"]


def some(system, data: Dataset, each: int, seed: int) -> Dataset:
    """A draw of so many training examples of each class; all of the test part."""
    train, rng = data.parts["train"], np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(np.flatnonzero(train["y"] == c))[:each] for c in range(5)])
    return from_arrays(system, train={k: a[rows] for k, a in train.items()}, test=data.parts["test"])


def main(folder: str | None) -> None:
    low, high = (cr.load(HERE / f"{name}.nn").system for name in ("base", "head"))
    params, error = trained(cr.compile(low), load_data(low, folder), low.training.epochs, 0)
    base = {k: params[k] for k in SHARED}
    print(f"base.nn, digits 0 to 4: test error {error:.4f}\n{'examples of each digit':>36}" + "".join(f"{n:16d}" for n in COUNTS))
    data, curves = load_data(high.copy(data=replace(high.data, split=())), folder), {}
    for way, training in WAYS.items():
        system, errors = high.copy(training=replace(high.training, **training)), []
        program = cr.compile(system)
        for n in COUNTS:
            batch = min(high.training.batch, 5 * n)
            epochs = max(1, STEPS * batch // (5 * n))
            errors.append([trained(program, some(system, data, n, k), epochs, k, base if training else None)[1]
                           for k in range(DRAWS)])
        curves[way] = np.array(errors)
        print(f"{way:>36}" + "".join(f"{f'{100 * e.mean():.1f} ± {100 * e.std():.1f} %':>16}" for e in curves[way]), flush=True)
    draw(HERE / "curve.png", curves)


def draw(path: Path, curves) -> None:
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    ax = figure.subplots()
    for way, errors in curves.items():
        ax.errorbar(COUNTS, 100 * errors.mean(1), 100 * errors.std(1), marker=".", capsize=2, label=way)
    ax.set(xscale="log", yscale="log", xlabel="examples of each of the digits 5 to 9", ylabel="test error, %",
           title="Convolutions learned on the digits 0 to 4", xticks=COUNTS, yticks=(5, 10, 20, 40),
           xticklabels=map(str, COUNTS), yticklabels=("5", "10", "20", "40"))
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    print(f"written: {path}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else None)
