"""What stands around a function's statements: checks, unpacking and buffers before, results after."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from ...compiler.formulas import formula
from ...compiler.graph import BATCH, REAL, Input, Param, length
from ...compiler.passes.naming import quoted, quoted_tuple
from ...compiler.sizes import Size, product
from ...compiler.system import System, lengths_input
from ...compiler.truncation import Truncation
from . import carrying
from .functions import WIDTH, FunctionPrinter, wrapped
from .statements import DTYPES
from .views import shape_text, text


def dtype_text(system: System, local: Mapping[str, str]) -> str:
    """The type of all numbers: the parameters', else the first real input's, else float32. `local`: input -> its name here."""
    for k in (*system.params, *system.stats):
        return f"params[{quoted(k)}].dtype"
    real = [name for k, name in local.items() if system.inputs[k].type == REAL]
    return f"np.result_type(np.asarray({real[0]}), np.float32)" if real else "np.dtype(np.float32)"


class Entry:
    """The frame of one function: `name` is gradients, predict or evaluate."""

    units: Mapping[str, str] = {}                                # inputs that are units of an energy model -> their values
    words: Mapping[str, str] = {}                                # what the caller calls a length
    more: tuple[str, ...] = ()                                   # results beside gradients and stats

    def __init__(self, name: str, system: System, printer: FunctionPrinter, uses: set[str],
                 cut: Truncation | None = None) -> None:
        self.name, self.system, self.printer, self.uses, self.cut = name, system, printer, uses, cut
        self.unknown = '"some"' if name in ("gradients", "statistics") else "None"       # what a length may be that inputs tell

    def prologue(self) -> list[str]:
        """Checks, parameters, sizes and buffers."""
        printer, inputs, name = self.printer, self.printer.function.inputs, self.name
        lines = ["    check_params(params, PARAMS)"]
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, (Param, Input))}
        every = (*self.system.params, *self.system.stats)
        used = [k for k in every if k in local]
        lines += unpack([local[k] for k in used], "params", used, every)
        results = {k.removeprefix("d_") if k not in self.system.stats else k: v.array.name
                   for k, v in printer.function.results.items() if v.array.role == "result"}
        owned = [k for k in (*every, *self.more) if k in results]
        lines += unpack([results[k] for k in owned], "grads", owned, every)
        lines += self.inputs({k: local[k] for k in inputs})
        lines += carrying.entry(self.cut, printer.function, printer.values, self.uses)
        buffers = printer.buffers()
        if buffers:
            names = [a.name for _, a in buffers]
            lines += assigned(names, f"_{name}_buffers({', '.join(['workspace', *self.lengths(), 'dtype'])})")
        return lines

    def inputs(self, local: dict[str, str]) -> list[str]:
        """The type of all numbers, the lengths, and the inputs, checked; `local`: what each is called."""
        printer, inputs = self.printer, self.printer.function.inputs
        lines: list[str] = []
        known = {*printer.function.free}
        lines.append(f"    dtype = {dtype_text(self.system, {} if printer.single else {k: local[k] for k in inputs})}")
        for n in printer.function.free:
            self.uses.add("whole_length")
            lines.append(f"    {n} = whole_length({quoted(self.words.get(n, n))}, {n})")
        for k in sorted(inputs, key=lambda k: -len(self.system.inputs[k].axes)):     # a length is known where it is compared
            lines += self._input(k, local[k], known)
        lines += [line for n, k in printer.function.lengths.items() if n in known for line in _demanded(n, k)]
        return lines + [line for n, k in printer.function.least.items() if n in known for line in _least(n, k)]

    def lengths(self) -> list[str]:
        """The lengths, read off the inputs, on which buffers depend."""
        found = {s for _, a in self.printer.buffers() for d in a.dims for s in d.symbols} - {*self.system.sizes}
        return sorted(found)

    def _input(self, key: str, name: str, known: set[str]) -> list[str]:
        """One input: checked, its lengths read, brought into time-first order."""
        node: Input = self.system.inputs[key]
        order = sorted(node.axes, key=lambda x: x != BATCH)      # the caller's order: batch first
        lengths = [str(length(x)) for x in order]
        dims = [n if n in known else self.unknown for n in lengths] + [s.format() for s in node.shape]
        dims_text = f"({', '.join(dims)}{',' if len(dims) == 1 else ''})"
        own = key.removeprefix("lengths_")
        if own != key and node is lengths_input(own):
            self.uses.add("lengths_input")
            call = f"lengths_input({quoted(key)}, {name}, {dims_text}, {length(own)})"
        elif node.type.kind == "class":
            self.uses.add("class_input")
            call = f"class_input({quoted(key)}, {name}, {dims_text}, {node.type.n})"
        elif key in self.units:
            self.uses.add("units_input")
            call = f"units_input({quoted(key)}, {name}, {dims_text}, dtype, {quoted(self.units[key])})"
        else:
            self.uses.add("real_input")
            call = f"real_input({quoted(key)}, {name}, {dims_text}, {'bool' if node.type.kind == 'bool' else 'dtype'})"
        shape = f"# ({', '.join([*lengths, *(s.format() for s in node.shape)])}{',' if len(dims) == 1 else ''})"
        lines = wrapped(f"    {name} = {call}", shape)
        new = [n for n in lengths if n not in known]
        if len(new) == 1:
            where = lengths.index(new[0])
            lines.append(f"    {new[0]} = {f'len({name})' if where == 0 else f'{name}.shape[{where}]'}")
        elif new:
            lines.append(f"    {', '.join(lengths)} = {name}.shape[:{len(lengths)}]")
        known.update(lengths)
        if order != list(node.axes):
            lines.append(f"{f'    {name} = {name}{inwards(len(order), len(node.shape))}':<64}# time first inside")
        return lines

    def epilogue(self) -> list[str]:
        """The return statement."""
        printer, name = self.printer, self.name
        results = printer.function.results
        carry = carrying.handed_on(self.cut, printer.function, printer.copied) if self.cut else []
        if name == "gradients":
            return [*carry, f"    return {text(results['loss'])}{', carry' if self.cut else ''}"]
        if name == "predict":
            items = []
            for k, v in results.items():
                value = text(v)
                e = printer.layout.plan.roots[k]
                if len(e.axes) > 1 and BATCH in e.axes:
                    value += outwards(len(e.axes), len(e.shape))
                items.append(f"{quoted(k)}: {value}")
            items += ['"carry": carry'] if self.cut else []
            return carry + wrapped(f"    return {{{', '.join(items)}}}", "")
        def number(k: str) -> str:
            e = printer.function.numbers.get(k)
            return text(results[k]) if e is None else formula(e, {})
        items = [f'"loss": ({number("loss")}, {number("loss count")})']
        items.append(f'"penalty": {number("penalty") if "penalty" in results else "0.0"}')
        items += [f"{quoted(m)}: ({number(m)}, {number(m + ' count')})" for m in self.system.metrics]
        items += ['"carry": carry'] if self.cut else []
        return carry + wrapped(f"    return {{{', '.join(items)}}}", "")

    def buffers(self) -> str:
        """The memory plan as code: slots, and the views into them."""
        printer, name = self.printer, self.name
        buffers = printer.buffers()
        if not buffers:
            return ""
        lengths, held = self.lengths(), quoted(printer.kept_as.format(name))
        lines = [f"def _{name}_buffers({', '.join(['workspace', *lengths, 'dtype'])}):",
                 '    """The memory plan: values that are never needed at the same time share a slot."""',
                 f"    key = ({', '.join([*lengths, 'dtype'])}{'' if lengths else ','})",
                 f"    if workspace.keys.get({held}) != key:", f"        s = workspace.reserve({held}, ["]
        for slot in printer.plan.slots:
            sizes = [s.format() for s in largest(slot.sizes, {*self.system.sizes})]
            count = f"max({', '.join(sizes)})" if len(sizes) > 1 else sizes[0]
            lines += wrapped(f"            ({count}, {DTYPES.get(slot.kind, 'dtype')}),", "")
        lines += ["        ])", f"        workspace.views[{held}] = ("]
        for i, a in buffers:
            shaped = f".reshape{shape_text(a.dims)}" if len(a.dims) > 1 else ""
            view = f"            s[{i}][:{product(a.dims).format()}]{shaped},"
            lines.append(f"{view:<{72}}# {a.name}")
        lines += ["        )", f"        workspace.keys[{held}] = key", f"    return workspace.views[{held}]"]
        self.uses.add("Workspace")
        return "\n".join(lines) + "\n"


def largest(sizes: Sequence[Size], declared: set[str]) -> list[Size]:
    """The sizes of which none is at most another for whatever lengths: declared sizes are 1 or more, a batch may be empty."""
    def below(a: Size, b: Size) -> bool:
        if len(a.terms) != 1 or len(b.terms) != 1:
            return False
        (((has, n),), ((other, m),)) = (a.terms, b.terms)
        more = Counter(other)
        more.subtract(has)
        return n <= m and all(c == 0 or (c > 0 and k in declared) for k, c in more.items())
    return [a for a in sizes if not any(b != a and below(a, b) for b in sizes)]


def _demanded(length: str, steps: int) -> list[str]:
    """The only length that a full unroll computes."""
    return [f"    if {length} != {steps}:",
            f'        raise ValueError(f"every step is written out for {length} = {steps}, but {length} is {{{length}}} here")']


def _least(length: str, steps: int) -> list[str]:
    """A length from which on the steps are there that the model reads by their numbers."""
    return [f"    if {length} < {steps}:",
            f'        raise ValueError(f"the model reads a step that is there from {length} = {steps} on, but {length} is '
            f'{{{length}}} here")']


def inwards(axes: int, features: int) -> str:
    """`x[batch, s, t, ...]` -> `x[s, t, batch, ...]`."""
    order = (*range(1, axes), 0, *range(axes, axes + features))
    return ".swapaxes(0, 1)" if axes == 2 else f".transpose({', '.join(map(str, order))})"


def outwards(axes: int, features: int) -> str:
    """`x[s, t, batch, ...]` -> `x[batch, s, t, ...]`."""
    order = (axes - 1, *range(axes - 1), *range(axes, axes + features))
    return ".swapaxes(0, 1)" if axes == 2 else f".transpose({', '.join(map(str, order))})"


def unpack(names: list[str], source: str, keys: list[str], every: tuple[str, ...]) -> list[str]:
    """Several names from a dict."""
    if len(names) < 2:
        return [f"    {n} = {source}[{quoted(k)}]" for n, k in zip(names, keys, strict=True)]
    return assigned(names, f"({source}[k] for k in {'PARAMS' if tuple(keys) == every else quoted_tuple(keys)})")


def assigned(names: list[str], value: str) -> list[str]:
    """Several names from one value; the names in rows of their own where a line does not hold them."""
    left = ", ".join(names) + ("," if len(names) == 1 else "")
    if len(left) + len(value) + 7 <= WIDTH:
        return [f"    {left} = {value}"]
    right = [f"    ) = {value}"]
    if len(right[0]) > WIDTH and value.startswith("("):
        right = ["    ) = (", *(f"        {r}" for r in _rows(value[1:-1])), "    )"]
    return ["    (", *(f"        {r}" for r in _rows(left + ",")), *right]


def _rows(text: str) -> list[str]:
    """Text broken between words, however long they are."""
    return textwrap.wrap(text, WIDTH - 8, break_long_words=False, break_on_hyphens=False)
