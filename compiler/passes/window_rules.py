"""Windows and folds next to each other: what stands between two of them along another dimension moves out of the way.

    window(pad(window(x, p), q), r)  ->  window(window(pad(x, q'), p), r)      all padding first, then all windows
    fold(slice(fold(g, p), q), r)    ->  slice(fold(fold(g, p), r'), q')       all folds, then what is cut off
"""

from __future__ import annotations

from ..algebra import Rule, structure
from ..graph import Expr, Fold, Pad, Slice, Window


@structure("pad(window(x, p), q) -> window(pad(x, q), p)", "Pad")
def pad_before_window(e: Expr) -> Expr | None:
    """A padding of another dimension than the windows'."""
    assert isinstance(e, Pad)
    w = e.args[0]
    if not isinstance(w, Window) or e.at in (w.at, w.at + 1):
        return None
    at = e.at - (e.at > w.at)
    return Window(Pad(w.args[0], at, e.lo, e.total), w.at, w.k, w.stride, w.dilation)


@structure("fold(slice(a, q), p) -> slice(fold(a, p), q)", "Fold")
def fold_before_slice(e: Expr) -> Expr | None:
    """A slice of another dimension than the folded ones, where it comes from a fold itself."""
    assert isinstance(e, Fold)
    a = e.args[0]
    if not isinstance(a, Slice) or not isinstance(a.args[0], Fold) or a.at in (e.at, e.at + 1):
        return None
    whole = Fold(a.args[0], e.at, e.n, e.stride, e.dilation)
    return Slice(whole, a.at - (a.at > e.at), a.lo, a.hi)


WINDOW_RULES: tuple[Rule, ...] = (pad_before_window, fold_before_slice)
