"""The reading graph as DOT (for graphviz) and as SVG (drawn here, no program needed)."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .layout import Slots, arrange

if TYPE_CHECKING:
    import networkx as nx

FILL = {"input": "#dbeafe", "target": "#ede9fe", "param": "#fef3c7", "stat": "#fde2c8", "equation": "#ffffff", "loss": "#fee2e2",
        "metric": "#dcfce7", "visible": "#dbeafe", "hidden": "#ede9fe", "energy": "#fee2e2"}
LEGEND = ("input", "visible", "hidden", "target", "param", "stat", "equation", "loss", "energy", "metric")
LETTER, HEIGHT, MARGIN = 6.7, 40.0, 24.0
FONT = 'font-family="ui-monospace, Menlo, DejaVu Sans Mono, monospace"'


def labels(name: str, data: dict[str, Any]) -> list[str]:
    """The lines in a box: the name with its shape, and the formula where there is one."""
    inside = [a for a in data["axes"] if a != "batch"]
    inside += data["shape"]
    head = name + (f"[{', '.join(inside)}]" if inside else "")
    text = data["formula"]
    if data["kind"] == "stat":
        return [head, f"<- {_cut(text)}"]
    return [head, _cut(text)] if text else [head]


def _cut(text: str, widest: int = 46) -> str:
    return text if len(text) <= widest else text[:widest - 3] + "..."


def delay_text(data: dict[str, Any]) -> str:
    """`t-1`, or `t-2, t-1`; nothing where the edge is not delayed."""
    return ", ".join(f"{axis}{steps:+d}" for axis, steps in data["delays"])


def to_dot(g: nx.DiGraph) -> str:
    """The graph in graphviz' language."""
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    lines = [f"digraph {quoted(g.graph.get('name', 'model'))} {{",
             '    node [shape=box, style="rounded,filled", fontname="monospace"];']
    for name, data in g.nodes(data=True):
        text = quoted("\n".join(labels(name, data)))
        lines.append(f"    {quoted(name)} [label={text}, fillcolor={quoted(FILL[data['kind']])}];")
    for a, b, data in g.edges(data=True):
        options = []
        if data["delays"]:
            options += [f"label={quoted(delay_text(data))}", "constraint=false"] if not data["direct"] else [
                f"label={quoted(delay_text(data))}"]
        if not data["direct"] or data["update"]:
            options.append("style=dashed")
        lines.append(f"    {quoted(a)} -> {quoted(b)}" + (f" [{', '.join(options)}]" if options else "") + ";")
    return "\n".join([*lines, "}", ""])


def to_svg(g: nx.DiGraph) -> str:
    """The graph as a picture: layers from the inputs down to the loss, delays as dashed arrows with their label."""
    text = {name: labels(name, data) for name, data in g.nodes(data=True)}
    widths = {name: max(map(len, lines)) * LETTER + 20 for name, lines in text.items()}
    slots = arrange(g, widths)
    place = {n: (slots.x[n] + MARGIN, slots.y(k) + MARGIN + HEIGHT / 2) for k, row in enumerate(slots.layers) for n in row}
    edges, right = _edges(g, slots, place, widths)
    boxes = [_box(name, data["kind"], text[name], place[name], widths[name]) for name, data in g.nodes(data=True)]
    kinds = [k for k in LEGEND if any(d["kind"] == k for _, d in g.nodes(data=True))]
    width = max(right + MARGIN, 90.0 * len(kinds) + 2 * MARGIN)
    bottom = slots.y(len(slots.layers) - 1) + HEIGHT + 2 * MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{bottom + 28:.0f}" '
        f'viewBox="0 0 {width:.0f} {bottom + 28:.0f}">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0.5 L8,4 L0,7.5 z" fill="#475569"/></marker></defs>',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        *edges, *boxes, *_legend(kinds, bottom), "</svg>", ""])


def _edges(g: nx.DiGraph, slots: Slots, place: dict[str, tuple[float, float]],
           widths: dict[str, float]) -> tuple[list[str], float]:
    """All arrows, and how far to the right the drawing goes."""
    right = max((place[n][0] + widths[n] / 2 for n in g.nodes), default=0.0)
    half = {n: _height(labels(n, data)) / 2 for n, data in g.nodes(data=True)}
    lane, reach, out = right, right, []
    for a, b, data in g.edges(data=True):
        if (a, b) in slots.routes:
            out.append(_arrow(_through([place[n] for n in slots.routes[a, b]], half[a], half[b]), data["update"]))
            if not data["delays"]:
                continue
        (xa, ya), (xb, yb) = place[a], place[b]
        if a == b:
            path, label = _loop(xa + widths[a] / 2, ya), (xa + widths[a] / 2 + 34, ya + 4)
        else:
            lane += 16
            path = _around((xa + widths[a] / 2 - 12, ya + half[a]), (xb + widths[b] / 2 - 12, yb - half[b]), lane, lane - right)
            label = (lane + 4, (ya + yb) / 2 + 4)
        out.append(_arrow(path, True))
        if delay_text(data):
            out.append(_words(delay_text(data), *label, size=11, colour="#b45309"))
        reach = max(reach, label[0] + LETTER * len(delay_text(data)) + 4)
        lane = max(lane, label[0] + LETTER * len(delay_text(data)) - 10) if a != b else lane
    return out, reach


def _height(lines: list[str]) -> float:
    return HEIGHT if len(lines) > 1 else HEIGHT - 12


def _through(way: list[tuple[float, float]], start: float, end: float) -> str:
    """A smooth line from the bottom of the first box through the passages to the top of the last."""
    points = [(way[0][0], way[0][1] + start), *way[1:-1], (way[-1][0], way[-1][1] - end - 1)]
    path = f"M{points[0][0]:.0f},{points[0][1]:.0f}"
    for (xa, ya), (xb, yb) in pairwise(points):
        middle = (ya + yb) / 2
        path += f" C{xa:.0f},{middle:.0f} {xb:.0f},{middle:.0f} {xb:.0f},{yb:.0f}"
    return path


def _around(start: tuple[float, float], end: tuple[float, float], lane: float, offset: float) -> str:
    """Down from a box, out to a lane on the right, along it, and in from above: between the rows, never through a box."""
    r, shift = 6, min(offset / 4, 12)
    (xa, ya), (xb, yb) = start, end
    low, high = ya + 14 + shift, yb - 14 - shift
    turn = r if high > low else -r
    return (f"M{xa:.0f},{ya:.0f} V{low - r:.0f} q0,{r} {r},{r} H{lane - r:.0f} q{r},0 {r},{turn} V{high - turn:.0f} "
            f"q0,{turn} -{r},{turn} H{xb + r:.0f} q-{r},0 -{r},{r} V{yb - 1:.0f}")


def _loop(x: float, y: float) -> str:
    return f"M{x:.0f},{y + 9:.0f} C{x + 40:.0f},{y + 24:.0f} {x + 40:.0f},{y - 24:.0f} {x:.0f},{y - 9:.0f}"


def _arrow(path: str, dashed: bool) -> str:
    style = ' stroke-dasharray="5 3"' if dashed else ""
    return f'<path d="{path}" fill="none" stroke="#475569" stroke-width="1.2"{style} marker-end="url(#tip)"/>'


def _box(name: str, kind: str, lines: list[str], at: tuple[float, float], width: float) -> str:
    x, y = at
    height = _height(lines)
    box = (f'<rect x="{x - width / 2:.0f}" y="{y - height / 2:.0f}" width="{width:.0f}" height="{height:.0f}" rx="6" '
           f'fill="{FILL[kind]}" stroke="#475569"/>')
    step = 15 * (len(lines) - 1) / 2
    words = [_words(line, x, y + 4 - step + 15 * k, bold=k == 0, anchor="middle") for k, line in enumerate(lines)]
    return "".join([f"<g><title>{escape(name)}: {kind}</title>", box, *words, "</g>"])


def _words(text: str, x: float, y: float, size: int = 11, colour: str = "#0f172a", bold: bool = False,
           anchor: str = "start") -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" {FONT}{weight}>'
            f'{escape(text)}</text>')


def _legend(kinds: list[str], y: float) -> list[str]:
    out = []
    for k, kind in enumerate(kinds):
        x = MARGIN + 90 * k
        out.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="12" height="12" rx="3" fill="{FILL[kind]}" stroke="#475569"/>')
        out.append(_words(kind, x + 18, y + 10, colour="#475569"))
    return out
