"""What a row of the benchmark is: a model's text, its data, and the same loss as each peer's users write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
TorchLoss = tuple[dict[str, Any], Callable[[], Any]]     # parameters by our names, and the loss of one forward pass
JaxLoss = Callable[[dict[str, Any], dict[str, Any]], Any]
TorchSide = Callable[[Arrays, dict[str, Any]], TorchLoss]
GRADIENT = "gradient"                                    # in the place of an optimiser: the loss and its gradient, no update


@dataclass(frozen=True)
class Work:
    """`model` is text with `{train}` in it; `torch` and `jax` build the peers' losses; `compiled`: with torch.compile, too.

    `target`: the ratio to the fastest peer that is aimed at. A model without a train line has the one "optimiser" GRADIENT.
    """

    title: str
    model: str
    data: Callable[[], Arrays]
    torch: TorchSide | None
    jax: Callable[[], JaxLoss]
    optimisers: tuple[str, ...] = ("sgd", "adam")
    compiled: bool = True
    rates: tuple[float, float] = (0.01, 0.001)           # of sgd and adam
    noise: dict[str, tuple[int, ...]] = field(default_factory=dict)      # uniform numbers that a step draws, by our keys
    dtype: str = "float32"
    threads: int = 2
    target: float | None = None

    def text(self, optimiser: str) -> str:
        """The model's text with its optimiser."""
        return self.model if optimiser == GRADIENT else self.model.format(train=f"{optimiser}(lr = {self.rate(optimiser)})")

    def rate(self, optimiser: str) -> float:
        return self.rates[optimiser == "adam"]

    @property
    def peers(self) -> tuple[str, ...]:
        """The sides that there are for this row."""
        torch = () if self.torch is None else ("torch", "torch.compile") if self.compiled else ("torch",)
        return ("native", "numpy", *torch, "jax")
