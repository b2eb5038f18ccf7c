"""Learning-rate schedules: the rate of step k as a multiple of the declared one.

    constant                         1
    cosine(floor = 0)                floor + (1 - floor) * (1 + cos(pi k / K)) / 2       K: all steps of the run
    linear(floor = 0)                1 - (1 - floor) * k / K
    step(every = 10, factor = 0.1)   factor ^ (epochs // every)
    exponential(factor = 0.95)       factor ^ epochs, smoothly
    warmup(steps = 100)              k / steps, then 1

Every schedule takes `warmup = steps`: the rate rises linearly over the first steps, which are taken off k and K.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from .errors import OptionError, did_you_mean

_OPTIONS: dict[str, dict[str, float]] = {
    "constant": {}, "cosine": {"floor": 0.0}, "linear": {"floor": 0.0}, "step": {"every": 10.0, "factor": 0.1},
    "exponential": {"factor": 0.95}, "warmup": {"steps": 100.0}}


def check_schedule(name: str, options: Mapping[str, float]) -> None:
    """Refuses an unknown schedule or option."""
    if name not in _OPTIONS:
        raise OptionError(f"there is no schedule {name!r}{did_you_mean(name, _OPTIONS)}")
    for option in options:
        if option != "warmup" and option not in _OPTIONS[name]:
            raise OptionError(f"schedule {name} has no option {option!r}{did_you_mean(option, [*_OPTIONS[name], 'warmup'])}")


def rate_factor(name: str, options: Mapping[str, float], step: int, steps: int, per_epoch: int) -> float:
    """The multiple of the declared rate at `step` (from 0) of `steps`, with `per_epoch` steps an epoch."""
    given = {**_OPTIONS[name], **options}
    warmup = given.get("warmup", given.get("steps", 0.0))
    if step < warmup:
        return (step + 1) / (warmup + 1)
    k, total = step - warmup, max(steps - warmup, 1)
    part = min(k / total, 1.0)
    epochs = k / max(per_epoch, 1)
    match name:
        case "cosine":
            return given["floor"] + (1 - given["floor"]) * (1 + math.cos(math.pi * part)) / 2
        case "linear":
            return 1 - (1 - given["floor"]) * part
        case "step":
            return float(given["factor"] ** (math.floor(epochs) // max(given["every"], 1)))
        case "exponential":
            return float(given["factor"] ** epochs)
    return 1.0
