"""Draws docs/gradflow.png: a plain recurrent network against an LSTM over 100 steps. Run it from the repository's root.

    python docs/gradflow.py
"""

from pathlib import Path

import chainrule as cr
import numpy as np
from chainrule.frontends.trainer.differences import random_inputs
from chainrule.frontends.trainer.flow import flows
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[1]
CURVES = (("rnn", "h", "plain RNN, d_h[t]", "tab:red"), ("lstm", "h", "LSTM, d_h[t]", "tab:blue"),
          ("lstm", "c", "LSTM, d_c[t]", "tab:cyan"))


def norms(name, steps=100, batch=16):
    """What `chainrule gradflow` prints, as arrays: equation -> the norm of its gradient at every step."""
    system = cr.load(ROOT / "examples" / "gradflow" / f"{name}.nn").system
    params = cr.compile(system, dtype="float64").init(seed=0)
    return {f.name: f.norms for f in flows(system, params, random_inputs(system, 0, batch, steps, whole=True), steps=steps)}


def draw(path):
    """The curves on a logarithmic scale."""
    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    found = {name: norms(name) for name in ("rnn", "lstm")}
    for name, equation, label, colour in CURVES:
        ax.semilogy(np.where(found[name][equation] > 0, found[name][equation], np.nan), label=label, color=colour)
    ax.set(xlabel="step t; the loss is that of step 99", ylabel="norm of the gradient", ylim=(1e-21, 1e2), xlim=(0, 99))
    ax.legend(loc="lower right")
    ax.grid(alpha=0.3)
    figure.savefig(path, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    draw(ROOT / "docs" / "gradflow.png")
