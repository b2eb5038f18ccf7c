"""Transfer against training from scratch, by how many examples of the new digits there are: `python curve.py`.

base.nn learns the digits 0 to 4; head.nn then learns 5 to 9 from 10 to 200 examples: from scratch, with the base's hidden
layers as they are (frozen), and starting from them at a tenth of the rate. Writes curve.png and prints the test errors, each the
mean over five seeds. Of fully connected layers nothing is to be gained here: what they have learned of five digits says little
about five others, and the curve says so.
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
COUNTS, SEEDS = (10, 20, 50, 100, 200), range(5)
SHARED = ("W1", "b1", "W2", "b2")
WAYS = {"from scratch": {}, "hidden layers frozen": {"freeze": SHARED}, "hidden layers at a tenth of the rate": {
    "rates": tuple((name, 0.1) for name in SHARED)}}


def trained(system, data, seed, start=None):
    """The weights after training, and the test error."""
    training = system.training
    trainer = Trainer(cr.compile(system), data, Options(training.epochs, training.batch, seed))
    params = trainer.program.init(seed=seed)
    params.update({k: v.copy() for k, v in (start or {}).items() if k in params})
    trainer.start(params)
    params = trainer.train().params
    return params, trainer.evaluate("test", params)["error"]


def some(system, data: Dataset, n: int) -> Dataset:
    """The first n examples of the training part."""
    return from_arrays(system, train={k: a[:n] for k, a in data.parts["train"].items()}, test=data.parts["test"])


def main(picture: Path) -> None:
    low, high = (cr.load(HERE / f"{name}.nn").system for name in ("base", "head"))
    base, error = trained(low, load_data(low), 0)
    print(f"base.nn, digits 0 to 4: test error {error:.4f}\n{'examples':>36}" + "".join(f"{n:8d}" for n in COUNTS))
    high = high.copy(data=replace(high.data, split=(max(COUNTS), 600)))
    data, curves = load_data(high), {}
    for way, training in WAYS.items():
        system = high.copy(training=replace(high.training, **training))
        start = {} if way == "from scratch" else base
        curves[way] = [np.mean([trained(system, some(system, data, n), seed, start)[1] for seed in SEEDS]) for n in COUNTS]
        print(f"{way:>36}" + "".join(f"{e:8.4f}" for e in curves[way]))
    draw(picture, curves)


def draw(path: Path, curves) -> None:
    from matplotlib.figure import Figure
    figure = Figure(figsize=(6.0, 3.8), layout="constrained")
    ax = figure.subplots()
    for way, errors in curves.items():
        ax.semilogx(COUNTS, errors, marker=".", label=way)
    ax.set(xlabel="examples of the digits 5 to 9", ylabel="test error", xticks=COUNTS, xticklabels=map(str, COUNTS))
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend()
    figure.savefig(path, dpi=120, metadata={"Software": None})
    print(f"written: {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "curve.png")
