"""Convolutions as C: a call of a function for each shape, whose sizes are constants in it, by the kernels of convolutions.c."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path

from ...compiler.passes.convolution import shared
from ...compiler.program import Convolve, Correlate, Tap, View
from ...compiler.sizes import Size, size
from .indexing import Namer, start, strides
from .kernels import length

TEXT = (Path(__file__).parent / "convolutions.c").read_text(encoding="utf-8")
BLOCK = 24 << 10                                                 # numbers of padded lines at a time: they stay in the cache
STACK = 128 << 10                                                # numbers that may stand on the stack
VECTOR = 16                                                      # numbers in the widest vector
ARGUMENTS = {Convolve: "const real *x, const real *kernel, real *out, int64_t from, int64_t to",
             Correlate: "const real *x, const real *g, real *out, int64_t count, int64_t me, int64_t many"}
PASSED = {Convolve: "x, kernel, out, from, to", Correlate: "x, g, out, count, me, many"}
Shape = dict[str, int]


class Shapes:
    """The functions of convolutions that were asked for: shapes that are the same share theirs."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        self.names: dict[str, str] = {}                          # body -> name

    def lines(self, s: Convolve | Correlate, names: Namer) -> Iterator[str]:
        """The call, one for each group of channels that see each other."""
        shape, groups = self._shape(s)
        other = s.kernel if isinstance(s, Convolve) else s.g
        image, result = s.x, s.out if isinstance(s, Convolve) else s.g
        at = [start(v, names) for v in (s.x, other, s.out)]
        share = f"0, {length(s.out.dims[0])}" if isinstance(s, Convolve) else f"{length(s.x.dims[0])}, 0, 1"
        name = self._function(s, shape)
        if groups == 1:
            yield f"{name}({', '.join(at)}, {share});"
            return
        steps = {id(v): shape[n] * self._strides(v)[3] for v, n in ((image, "channels"), (result, "outputs"))}
        each = shape["k"] * shape["k_wide"] if s.how.name != "rows" else shape["k_wide"]
        kernel = each * shape["channels"] * shape["outputs"]
        at = [f"{a} + c0 * {steps.get(id(v), kernel)}" for a, v in zip(at, (s.x, other, s.out), strict=True)]
        yield f"for (int64_t c0 = 0; c0 < {groups}; c0++)"
        yield f"    {name}({', '.join(at)}, {share});"

    def text(self) -> str:
        """The functions."""
        return "\n".join(f"static void {name}({body}" for body, name in self.names.items())

    def _function(self, s: Convolve | Correlate, shape: Shape) -> str:
        """The name of the function for a shape."""
        kind = ("convolve" if isinstance(s, Convolve) else "correlate") + ("_each" if s.how.name == "each" else "")
        fields = ", ".join(f".{k} = {v}" for k, v in shape.items() if v)
        arrays = {"band": _lines(shape)} | ({} if s.how.name == "each" else {"full": _full(s, shape)})
        text = f"{ARGUMENTS[type(s)]})\n{{\n"
        for word, n in arrays.items():
            text += f"    {'' if n <= STACK else 'static _Thread_local '}real {word}[{max(n, 1)}];\n"
        body = f"{text}    {kind}({PASSED[type(s)]}, {', '.join(arrays)}, (convolution){{{_wrapped(fields)}}});\n}}\n"
        if body not in self.names:
            name = "{}_{k}x{k_wide}_{channels}_{outputs}_of_{rows}x{columns}".format(kind, **shape)
            same = sum(n == name or n.startswith(f"{name}_") for n in self.names.values())
            self.names[body] = f"{name}_{same + 1}" if same else name
        return self.names[body]

    def _strides(self, v: View) -> list[int]:
        """Distances in memory along (example, lines, places, channel); a line is an image of one row."""
        out = [0 if n is None else n.evaluate(self.sizes) for n in strides(v)]
        return out if len(out) == 4 else [out[0], 0, *out[1:]]

    def _shape(self, s: Convolve | Correlate) -> tuple[Shape, int]:
        """What the kernels need to know, and the number of groups."""
        result, groups, each = s.out if isinstance(s, Convolve) else s.g, s.how.groups, s.how.name == "each"

        def number(n: Size) -> int:
            return n.evaluate(self.sizes)
        channels, outputs = (number(v.dims[-1] if each else shared(v.dims[-1], groups)) for v in (s.x, result))
        taps = [Tap(0, size(1), 1, 1), *s.how.taps] if len(s.how.taps) == 1 else list(s.how.taps)
        (rows, columns), (high, wide) = ([1, *map(number, v.dims[1:-1])][-2:] for v in (s.x, result))
        k, k_wide = (number(t.k) for t in taps)
        example, line, place, channel = self._strides(s.x)
        channel = 1 if channels == 1 else channel
        padded = columns + taps[1].lo + taps[1].hi
        plain = (channel, place) == (1, channels) and padded == columns and taps[0].lo == taps[0].hi == 0
        out_example, out_line, out_place, out_channel = self._strides(result)
        between = number(groups) if s.how.name == "rows" else 1
        shape = {"rows": rows, "columns": columns, "channels": channels, "high": high, "wide": wide, "outputs": outputs, "k": k,
                 "k_wide": k_wide, "stride": taps[0].stride, "stride_wide": taps[1].stride, "dilation": taps[0].dilation,
                 "dilation_wide": taps[1].dilation, "above": taps[0].lo, "before": taps[1].lo, "padded": padded,
                 "example": example, "line": line, "place": place, "channel": channel, "out_example": out_example,
                 "out_line": out_line, "out_place": out_place, "out_channel": 1 if outputs == 1 else out_channel,
                 "kernel_row": k_wide * channels * outputs * between, "block": high, "copied": int(not plain or each)}
        while shape["block"] > 1 and _lines(shape) + _places(shape) > BLOCK:
            shape["block"] = (shape["block"] + 1) // 2
        return shape, 1 if each else number(groups)


def _lines(shape: Shape) -> int:
    """Numbers in a block of padded lines."""
    count = (shape["block"] - 1) * shape["stride"] + (shape["k"] - 1) * shape["dilation"] + 1
    return count * shape["padded"] * shape["channels"]


def _places(shape: Shape) -> int:
    """Numbers in as many lines of the result, which are whole vectors."""
    return shape["block"] * shape["wide"] * -(-shape["outputs"] // VECTOR) * VECTOR


def _full(s: Convolve | Correlate, shape: Shape) -> int:
    """Numbers in what has its outputs filled up to vectors."""
    if isinstance(s, Correlate):
        return _places(shape)
    return prod(shape[k] for k in ("k", "k_wide", "channels")) * VECTOR if shape["outputs"] < VECTOR else 1


def _wrapped(fields: str) -> str:
    """The fields on lines of their own."""
    lines, rest = list[str](), fields
    while len(rest) > 110:
        cut = rest.rindex(", ", 0, 110)
        lines, rest = [*lines, rest[:cut + 1]], rest[cut + 2:]
    return "\n        ".join(["", *lines, rest])


__all__ = ["TEXT", "Shapes"]
