"""Evaluation on demand: values that read other values, without Python's recursion limit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .node import GraphError

K = TypeVar("K")
V = TypeVar("V")


def demand(goals: Iterable[K], needs: Callable[[K], Sequence[K]], make: Callable[[K, list[V]], V],
           memo: dict[K, V] | None = None) -> dict[K, V]:
    """The values of the goals and of all that they need: `make(k, values of needs(k))`, each once.

    Raises GraphError where a value needs itself.
    """
    memo = {} if memo is None else memo
    open_keys: dict[K, None] = {}                                # begun and not finished: the path to the top of the stack
    for goal in goals:
        stack = [goal]
        while stack:
            key = stack[-1]
            if key in memo:
                stack.pop()
                continue
            needed = needs(key)
            missing = [k for k in needed if k not in memo]
            for k in missing:
                if k in open_keys:
                    raise GraphError(f"a value needs itself, with no delay between: {k}")
            if missing:
                open_keys[key] = None
                stack.extend(reversed(missing))
            else:
                memo[key] = make(key, [memo[k] for k in needed])
                open_keys.pop(key, None)
                stack.pop()
    return memo
