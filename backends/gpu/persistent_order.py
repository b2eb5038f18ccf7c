"""The order of a step's statements: what needs no barrier comes first, so that one barrier serves many statements.

Layer normalisation of several gates asks for sums over a layer: as the equations stand, a barrier for each; gathered, one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from .persistent_form import BLOCK, GROUP, NONE, Touch

Between = Callable[[Touch, Touch], int]


def gathered(touches: Sequence[Sequence[Touch]], between: Between, shared: Callable[[Touch, Touch], bool],
             joined: Callable[[int, int], bool]) -> list[int]:
    """The statements' numbers in their new order.

    `touches`: of each statement; `between`: the barrier that two of them need; `shared`: whether two have an element in common
    that one of them writes, so that their order stays; `joined`: whether two statements may share a loop.
    """
    n = len(touches)
    after = {k: {j for j in range(k) if any(shared(x, y) for x in touches[j] for y in touches[k])} for k in range(n)}
    order, pending = list[int](), list[Touch]()
    while len(order) < n:
        ready = [k for k in range(n) if k not in order and after[k] <= {*order}]
        needs = {k: max((between(x, y) for x in pending for y in touches[k]), default=NONE) for k in ready}
        best = min(ready, key=lambda k: (needs[k], not (order and joined(order[-1], k)), k))
        if needs[best] == GROUP:
            pending = []
        elif needs[best] == BLOCK:
            pending = [replace(x, met=True) for x in pending]
        pending += touches[best]
        order.append(best)
    return order


__all__ = ["gathered"]
