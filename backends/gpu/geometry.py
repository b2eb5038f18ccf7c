"""How threads walk through an index space: one an element, several a row, or a tile of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...compiler.sizes import Size, product
from ..native.kernels import length

BLOCK = 256                                                      # threads of a block where each has an element of its own
TILE = 32                                                        # columns of a tile, and threads that share a column
SHARED = 40960                                                   # bytes of shared memory that the rows of a block may take
WORD = {"sum": "Sum", "prod": "Prod", "max": "Max", "min": "Min"}          # how numbers are joined, in the prelude
WORDS = re.compile(r"[^\W\d]\w*")
GROUP = r"\((?:[^()]|\([^()]*\))*\)"                              # in brackets, which may have brackets in them
INDEX = rf"\w+ = \w+(?: / (?:\w+|{GROUP}))?(?: % (?:\w+|{GROUP}))?"
SPLIT = re.compile(rf"( *)const int ({INDEX}(?:, {INDEX})+);")   # a line that `split` gives
Over = Sequence[tuple[str, Size]]


@dataclass(frozen=True)
class Geometry:
    """A launch: `count` pieces of work, of which a block does `per`, by so many threads."""

    count: Size
    per: int
    threads: tuple[int, ...]
    tiles: str = ""                                              # how many blocks share a piece, where there are several
    grid: str = ""                                               # the blocks, in Python, where they leave parts for the last one

    @property
    def total(self) -> int:
        """The threads of a block."""
        return product_of(self.threads)


def blocks_of(n: Size, per: int) -> str:
    """How many blocks do n pieces, in Python."""
    return n.format() if per == 1 else f"blocks({n.format()}, {per})"


def product_of(numbers: Sequence[int]) -> int:
    out = 1
    for n in numbers:
        out *= n
    return out


def lanes(inner: Sequence[tuple[Size, ...]], known: Mapping[str, int]) -> int:
    """How many threads share a row whose loops walk through these dims: a warp where rows are short, else a block."""
    longest = 1
    for dims in inner:
        n = product(dims)
        if {*n.symbols} - {*known}:
            return BLOCK
        longest = max(longest, n.evaluate(known))
    return 32 if longest <= 128 else 128 if longest <= 512 else BLOCK


def split(name: str, over: Over) -> Iterator[str]:
    """The index along each dim from the number of an element: `const int b = at / H, i = at % H;`."""
    if len(over) < 2:
        return
    parts = []
    for k, (i, n) in enumerate(over):
        inner = product(tuple(m for _, m in over[k + 1:]))
        text = name if inner == 1 else f"{name} / {bracketed(length(inner))}"
        parts.append(f"{i} = {text}" + (f" % {bracketed(length(n))}" if k else ""))
    yield f"const int {', '.join(parts)};"


def flattened(lines: Sequence[str]) -> list[str]:
    """The lines of a kernel: where an array has the elements that a number counts, `h[b*H + i]` is `h[at]`, and `(t*B + b)*H` is
    `place*H`; an index that nothing needs then is not computed.
    """
    out = [*lines]
    for k in reversed(range(len(out))):
        if (m := SPLIT.fullmatch(out[k])) is None:
            continue
        end = next((j for j in range(k + 1, len(out)) if not out[j].startswith(m[1]) and out[j]), len(out))
        parts = {x.split(" = ")[0]: x for x in m[2].split(", ")}
        text, word = "", m[2].split()[2].removesuffix(",")
        for i, x in parts.items():
            if x.endswith(" % 1"):                               # there is only the first, which nothing is added for
                continue
            text = f"{bracketed(text)}*{x.partition(' % ')[2]} + {i}" if text else i
        scope = [x.replace(f"[{text}]", f"[{word}]").replace(f"({text})*", f"{word}*") for x in out[k + 1:end]]
        used = {*WORDS.findall("\n".join(scope))}
        kept = [x for i, x in parts.items() if i in used]
        out[k:end] = [f"{m[1]}const int {', '.join(kept)};" if kept else "", *scope]
    return [x for x, old in zip(out, lines, strict=True) if x or not old]


def bracketed(text: str) -> str:
    return text if text.isidentifier() or text.isdigit() or re.fullmatch(r"\([^()]*\)", text) else f"({text})"


def element_of(over: Over) -> tuple[list[str], Geometry]:
    """One thread an element: how it finds its index, and the launch."""
    count = product(tuple(n for _, n in over))
    if not over:
        return [], Geometry(count, 1, (1,))
    name = over[0][0] if len(over) == 1 else "at"
    lines = [f"const int {name} = blockIdx.x * blockDim.x + threadIdx.x;", f"if ({name} >= {length(count)}) return;"]
    return [*lines, *split(name, over)], Geometry(count, BLOCK, (BLOCK,))


def row_of(over: Over, width: int, shared: int) -> tuple[list[str], Geometry]:
    """`width` threads a row: how each finds its row and its place there; `shared`: bytes of shared memory that a row takes."""
    count = product(tuple(n for _, n in over))
    per = 1 if width > 32 or not over else max(1, min(4, SHARED // max(shared, 1)))
    lines = ["const int lane = threadIdx.x;"]
    if over:
        name = over[0][0] if len(over) == 1 else "row"
        lines.append(f"const int {name} = blockIdx.x{f' * {per} + threadIdx.y' if per > 1 else ''};")
        lines += [f"if ({name} >= {length(count)}) return;"] if per > 1 else []
        lines += split(name, over)
    return lines, Geometry(count, per, (width, per) if per > 1 else (width,))


def strided(over: Over, body: Sequence[str], width: int | str, start: str = "lane") -> Iterator[str]:
    """The loop over a row's elements, of which each thread takes every `width`-th."""
    name = over[0][0] if len(over) == 1 else "place"
    count = length(product(tuple(n for _, n in over)))
    inside = [*split(name, over), *body]
    yield f"for (int {name} = {start}; {name} < {count}; {name} += {width})" + (" {" if len(inside) > 1 else "")
    yield from (f"    {line}" for line in inside)
    if len(inside) > 1:
        yield "}"
