"""What a row of the benchmark is: a model's text, its data, and the same loss as each peer's users write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
TorchLoss = tuple[dict[str, Any], Callable[[], Any]]     # parameters by our names, and the loss of one forward pass
JaxLoss = Callable[[dict[str, Any], dict[str, Any]], Any]


@dataclass(frozen=True)
class Work:
    """`model` is text with `{train}` in it; `torch` and `jax` build the peers' losses; `compiled`: with torch.compile, too."""

    model: str
    data: Callable[[], Arrays]
    torch: Callable[[Arrays, dict[str, Any]], TorchLoss]
    jax: Callable[[], JaxLoss]
    optimisers: tuple[str, ...] = ("sgd", "adam")
    compiled: bool = False
    rates: tuple[float, float] = (0.01, 0.001)           # of sgd and adam
    noise: dict[str, tuple[int, ...]] = field(default_factory=dict)      # uniform numbers that a step draws, by our keys

    def text(self, optimiser: str) -> str:
        """The model's text with its optimiser."""
        return self.model.format(train=f"{optimiser}(lr = {self.rate(optimiser)})")

    def rate(self, optimiser: str) -> float:
        return self.rates[optimiser == "adam"]
