"""`chainrule grad --terms --unroll 3`: backpropagation through time as the textbook's sum, with every factor spelt out.

A Jacobian is a matrix made of the tangent: `diag(1 - s_3^2) @ W`. Where a tangent is no product of such (a softmax, a norm), the
direction v stands in it: `ds_3/ds_2 @ v = ...`. What a parameter does at one step is shown on a row g: `g @ ds_3/dW = ...`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...compiler.formulas import formula, latex
from ...compiler.formulas.latex import symbol_latex
from ...compiler.gradient import is_zero
from ...compiler.graph import (
    BATCH,
    Broadcast,
    Concat,
    Contract,
    Expr,
    GraphError,
    Input,
    Map,
    Pad,
    Size,
    Slice,
    postorder,
    size,
)
from ...compiler.passes.simplify import simplify_memo
from ...compiler.system import System
from ...compiler.unrolled_terms import State, Unrolled, unrolled
from .derivation import ShowingError, derive

ALL = "zqwuv"                                            # what all states together are called: the first free letter


def terms_text(system: System, wrt: str | None = None, steps: int = 3, format: str = "formula") -> str:
    """The sum for one parameter, or for all; then its factors. ShowingError where there is no such sum."""
    if format not in ("formula", "latex"):
        raise ShowingError(f"the terms are shown as formula or latex, not as {format}")
    try:
        u = unrolled(derive(system).stable, steps)
    except GraphError as e:
        raise ShowingError(f"{system.name}: {e}") from None
    if wrt is not None and wrt not in system.params:
        raise ShowingError(f"{system.name} has no parameter {wrt}")
    page = _Page(u, [wrt] if wrt is not None else list(derive(system).gradients), format == "latex")
    return page.latex() if format == "latex" else page.text()


@dataclass(frozen=True)
class _Line:
    left: str
    right: str


class _Page:
    def __init__(self, u: Unrolled, wrt: list[str], latex: bool) -> None:
        self.u, self.in_latex = u, latex
        self.n = u.steps
        memo = simplify_memo([*u.system.names, *u.functions.values()], u.system.sizes)
        self.names = {memo[e]: name for e, name in u.system.names.items() if e.args}
        self.names.update((memo[f], f"{s}_{k}") for (s, k), f in u.functions.items())
        taken = {*u.states, *u.system.params, *u.system.inputs, *u.system.sizes,
                 *(name.rpartition("_")[0] for name in self.names.values())}
        self.one = len(u.states) == 1 and set(u.states.values()) == {1}
        self.state = next(iter(u.states)) if self.one else next((z for z in ALL if z not in taken), "state")
        self.read = [k for k in range(self.n, 0, -1) if any(u.by_state((s, k)) is not None for s in u.states)]
        self.wrt = [w for w in wrt if self.inner(w) or u.direct(w) is not None]

    def inner(self, w: str) -> bool:
        """Whether a step reads W."""
        return any(self.u.by_parameter((s, self.n), w, self.row(s)) is not None for s in self.u.states)

    # ------------------------------------------------------------ the sum

    def d(self, a: str, b: str) -> str:
        if not self.in_latex:
            return f"d{a}/d{b}"
        return rf"\frac{{\partial {symbol_latex(a)}}}{{\partial {symbol_latex(b)}}}"

    def sum(self, w: str) -> list[str]:
        """The terms of dE_n/dW, the last step's first."""
        z, n, times = self.state, self.n, r" \, " if self.in_latex else " "
        direct = self.u.direct(w)
        out = [] if direct is None else [self.show(direct)]
        if self.inner(w):
            for last in self.read:
                for k in range(last, 0, -1):
                    chain = [self.d(f"{z}_{j}", f"{z}_{j - 1}") for j in range(last, k, -1)]
                    out.append(times.join([self.d(f"E_{n}", f"{z}_{last}"), *chain, self.d(f"{z}_{k}", w)]))
        return out

    # ------------------------------------------------------------ factors

    def row(self, s: str) -> Input:
        n = self.u.nodes[s, self.n]
        return Input("g" if self.one else f"g_{s}", n.axes, n.shape)

    def factors(self) -> Iterator[_Line]:
        """dE_n/ds_n, ds_k/ds_(k-1), ds_k/dW, in the order in which the sum reads them."""
        u, n = self.u, self.n
        for k in self.read:
            for s in u.states:
                found = u.by_state((s, k))
                if found is not None:
                    yield _Line(self.d(f"E_{n}", f"{s}_{k}"), self.transposed(found))
        for k in range(n, 1, -1):
            for s in u.states:
                yield from self.jacobians((s, k))
        for w in self.wrt:
            for k in range(n, 0, -1):
                for s in u.states:
                    found = u.by_parameter((s, k), w, self.row(s))
                    if found is not None:
                        at = r" \, " if self.in_latex else " @ "
                        row = symbol_latex(self.row(s).name) if self.in_latex else self.row(s).name
                        yield _Line(f"{row}{at}{self.d(f'{s}_{k}', w)}", self.show(found))

    def jacobians(self, later: State) -> Iterator[_Line]:
        for s, most in self.u.states.items():
            for back in range(1, most + 1):
                earlier = (s, later[1] - back)
                node = self.u.nodes.get(earlier)
                if node is None:
                    continue
                v = Input("v", node.axes, node.shape)
                found = self.u.jacobian(later, earlier, v)
                if found is None:
                    continue
                left = self.d(f"{later[0]}_{later[1]}", f"{s}_{earlier[1]}" if earlier[1] >= 0 else f"{s}_m{-earlier[1]}")
                matrix = _Matrix(self, v).of(found)
                if matrix is not None:
                    yield _Line(left, matrix[0])
                else:
                    yield _Line(left + (r" \, v" if self.in_latex else " @ v"), self.show(found))

    def show(self, e: Expr, top: bool = True) -> str:
        text = latex(e, self.names, top=top) if self.in_latex else formula(e, self.names, top=top, limit=None)
        return text if self.in_latex else text.replace(f"B*{self.u.axis.upper()}", f"{self.n}*B")        # the length is known

    def transposed(self, e: Expr) -> str:
        """A derivative by a vector as a row."""
        text = self.show(e)
        if self.in_latex:
            return rf"\left({text}\right)^{{\top}}"
        return f"({text}).T"

    # ------------------------------------------------------------ the page

    def text(self) -> str:
        """The sums, then the factors, one a line."""
        n, z = self.n, self.state
        several = "" if self.one else f" {z}_k is {self._together()}."
        head = [f"E_{n} is what step {n} adds to the loss.{several}",
                f"d{z}_k/dW takes the states before step k as constants; {z}_0 stands before the first step. g is any row."]
        blocks = ["\n".join(head)]
        for w in self.wrt:
            first, *rest = self.sum(w)
            left = f"dE_{n}/d{w}"
            blocks.append("\n".join([f"{left} = {first}", *(f"{'':<{len(left)}} + {x}" for x in rest)]))
        lines = list(self.factors())
        width = max(len(x.left) for x in lines)
        blocks.append("\n".join(f"{x.left:<{width}} = {x.right}" for x in lines))
        return "\n\n".join(blocks)

    def latex(self) -> str:
        """An `aligned` block."""
        rows = []
        for w in self.wrt:
            first, *rest = self.sum(w)
            rows.append(f"{self.d(f'E_{self.n}', w)} &= {first}")
            rows += [f"&\\quad + {x}" for x in rest]
        rows += [f"{x.left} &= {x.right}" for x in self.factors()]
        body = " \\\\\n".join(f"  {r}" for r in rows)
        return f"\\begin{{aligned}}\n{body}\n\\end{{aligned}}"

    def _together(self) -> str:
        parts = [f"{s}_k" if most == 1 else ", ".join(f"{s}_k" if not b else f"{s}_(k-{b})" for b in range(most))
                 for s, most in self.u.states.items()]
        return f"({', '.join(parts)})"


SUM, PRODUCT, ATOM = range(3)


class _Matrix:
    """An expression that is linear in v as a matrix: (text, how tightly it binds); None where it is no product of matrices."""

    def __init__(self, page: _Page, v: Expr) -> None:
        self.page, self.v = page, v
        self.at = r" \, " if page.in_latex else " @ "

    def reads(self, e: Expr) -> bool:
        return any(n is self.v for n in postorder(e))

    def of(self, e: Expr) -> tuple[str, int] | None:
        """The matrix that e multiplies v by."""
        if e is self.v:
            return "I", ATOM
        match e:
            case Map("neg"):
                inner = self.of(e.args[0])
                return inner and (f"-{self._in(inner, PRODUCT)}", PRODUCT)
            case Map("add" | "sub"):
                return self._sum(e)
            case Map("mul"):
                a, b = e.args if not self.reads(e.args[0]) else e.args[::-1]
                return None if self.reads(a) else self._scaled(a, self.of(b))
            case Map("div") if not self.reads(e.args[1]):
                return self._scaled(1 / e.args[1], self.of(e.args[0]))
            case Contract():
                return self._product(e)
            case Broadcast() if e.shape == e.args[0].shape:
                return self.of(e.args[0])
            case Slice() if len(e.shape) == 1:
                inner = self.of(e.args[0])
                rows = f"{e.lo}:{e.hi}"
                return inner and (f"({inner[0]})_{{{rows}}}" if self.page.in_latex else f"({inner[0]})[{rows}]", ATOM)
        return None

    def _in(self, piece: tuple[str, int], level: int) -> str:
        return piece[0] if piece[1] >= level else f"({piece[0]})"

    def _sum(self, e: Map) -> tuple[str, int] | None:
        parts = [self.of(a) if self.reads(a) else None for a in e.args]
        if parts[0] is None or parts[1] is None:
            return None
        sign = "+" if e.f == "add" else "-"
        return f"{parts[0][0]} {sign} {self._in(parts[1], SUM + (sign == '-'))}", SUM

    def _times(self, a: str, b: tuple[str, int] | None) -> tuple[str, int] | None:
        if b is None:
            return None
        return (a, ATOM) if b[0] == "I" else (f"{a}{self.at}{self._in(b, PRODUCT)}", PRODUCT)

    def _scaled(self, a: Expr, b: tuple[str, int] | None) -> tuple[str, int] | None:
        """Every row of a matrix times an element of a; all of it times a number."""
        base = a
        while isinstance(base, Broadcast):
            base = base.args[0]
        text = self.page.show(a, top=False)
        if base.shape:
            return self._times(rf"\operatorname{{diag}}\left({text}\right)" if self.page.in_latex else f"diag({text})", b)
        sign = r" \, " if self.page.in_latex else " * "
        return b and (f"{f'({text})' if ' ' in text else text}{sign}{self._in(b, PRODUCT)}", PRODUCT)

    def _product(self, e: Contract) -> tuple[str, int] | None:
        (a, b), (la, lb) = e.args, (e.la, e.lb)
        if self.reads(a):
            (a, b), (la, lb) = (b, a), (lb, la)
        if self.reads(a) or len(la) != 2 or len(lb) != 1 or len(e.lo) != 1 or BATCH in a.axes:
            return None
        text = self.page.show(a, top=False)
        text = text if " " not in text else f"({text})"
        if la[0] == lb[0]:
            text = rf"{text}^{{\top}}" if self.page.in_latex else f"{text}.T"
        if isinstance(b, Concat | Pad):                          # v beside zeros: those columns of the matrix
            part, lo = self._part(b)
            if part is None:
                return None
            columns = f":, {lo}:{lo + part.shape[0]}"
            return self._times(f"{text}_{{{columns}}}" if self.page.in_latex else f"{text}[{columns}]", self.of(part))
        return self._times(text, self.of(b))

    def _part(self, e: Concat | Pad) -> tuple[Expr | None, Size]:
        """The one part that is not zero, and where it begins."""
        if isinstance(e, Pad):
            return e.args[0], e.lo
        found = [(a, lo) for a, lo in zip(e.args, e.offsets, strict=True) if not is_zero(a)]
        return found[0] if len(found) == 1 else (None, size(0))


__all__ = ["terms_text"]
