"""A word for a formula, for values that nobody named: `one_minus_g2`, `slope_fio` for fio * (1 - fio)."""

from __future__ import annotations

from collections.abc import Callable

from ...compiler.program import BOOL, Call, Hot, Literal, Load, Scalar, Step, View

LIMIT = 24
JOINED = {"add": "plus", "sub": "minus", "mul": "times", "div": "over", "maximum": "or", "minimum": "or"}


def phrase(s: Scalar, of: Callable[[View], str]) -> str:
    """The formula in words that a name may have; empty where it is too long or has no words."""
    text = _phrase(s, of)
    return text if 0 < len(text) <= LIMIT else ""


def _phrase(s: Scalar, of: Callable[[View], str]) -> str:
    match s:
        case Load(v):
            return of(v)
        case Hot(v):
            return f"onehot_{of(v)}" if of(v) else ""
        case Step(_, axis):
            return axis
        case Literal(value):
            return {1: "one", 0: "zero", 2: "two"}.get(value, "") if isinstance(value, int) else ""
        case Call("sub", (Literal(1), Call("square", (Load(v),)))):
            return f"slope_{of(v)}" if of(v) else ""
        case Call("mul", (Load(v), Call("sub", (Literal(1), w)))) | Call("mul", (Call("sub", (Literal(1), w)), Load(v))):
            if w == Load(v):
                return f"slope_{of(v)}" if of(v) else ""
    if not isinstance(s, Call):
        return ""
    words = [_phrase(a, of) for a in s.args]
    if not all(words):
        return ""
    if s.f == "square":
        return f"{words[0]}2" if not words[0][-1].isdigit() else f"{words[0]}_squared"
    if s.f == "neg":
        return f"minus_{words[0]}"
    if len(words) == 2 and s.f in JOINED:
        return f"{words[0]}_{JOINED[s.f]}_{words[1]}" if s.f != "mul" else "_".join(words)
    return f"{s.f}_{words[0]}" if len(words) == 1 else ""


def scales(s: Scalar) -> bool:
    """Whether a formula is a product: one value, times and over others."""
    if isinstance(s, Call):
        return (s.f in ("mul", "div", "real") or s.kind == BOOL) and all(map(scales, s.args))
    return True
