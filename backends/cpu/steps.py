"""`start` and `step`: a model run one step at a time; `generate` (see `generation`) closes the loop."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ...compiler.formulas import formula
from ...compiler.graph import BATCH, Broadcast, Const, Expr, Input, Param
from ...compiler.node import length
from ...compiler.passes.naming import identifier, quoted
from ...compiler.program import View
from ...compiler.sizes import Size
from ...compiler.steps import Steps
from ...compiler.system import System
from .entry import Entry, dtype_text, inwards, outwards, unpack
from .expressions import number
from .functions import FunctionPrinter, wrapped
from .head import prose
from .views import kept, shape_text, text

DTYPE = {"real": "dtype", "bool": "bool", "class": "np.int64"}


class StepPrinter:
    """Prints the functions of one step of a system."""

    def __init__(self, steps: Steps, system: System, uses: set[str], reserved: tuple[str, ...]) -> None:
        self.steps, self.system, self.uses, self.reserved = steps, system, uses, (*reserved, "carry", "outputs")
        self.plan, self.axis = steps.plan, steps.plan.axis
        self.batch = False                                       # whether `start` is told how many sequences

    def print(self) -> list[str]:
        """The functions, in the order in which they are called."""
        return [self.start(), self.step()]

    def printer(self, name: str, reserved: tuple[str, ...] = ()) -> FunctionPrinter:
        """The printer of one function; an entry of the carry is called after its key: h_before, h_before2 for h[-1], h[-2]."""
        system, lay = self.steps.systems[name], self.steps.layouts[name]
        for e, a in lay.arrays.items():
            if isinstance(e, Input):
                a.name = slot_name(e.name)
        taken = (*(w for w in self.reserved if w != self.axis), *reserved)       # no loop of a step runs along its axis
        out = FunctionPrinter(self.steps.functions[name], lay, system, system.names, self.uses, taken, False,
                              self.steps.explained)
        out.statements.inlined -= {a for e, a in lay.arrays.items() if e in {*system.equations.values()}}
        return out

    # ------------------------------------------------------------ start

    def start(self) -> str:
        """What the first step starts from."""
        printer, function = self.printer("start", (self.axis,)), self.steps.functions["start"]
        items = []
        for key, name in self.plan.before.items():
            value = self.number(function.numbers[name]) if name in function.numbers else \
                self._result(printer, function.results[name], self.plan.start.equations[name])
            items.append(f"{quoted(key)}: {value}")
        lines = [*printer.body().lines, *entries("    return ", [items])]
        inputs = self._inputs(printer, "start", [*self.plan.fixed], lines)
        self.batch = not any(BATCH in self.system.inputs[k].axes for k in self.plan.fixed)
        if self.batch and reads("B", lines):
            self.uses.add("whole_length")
            inputs.append('    B = whole_length("batch", batch)')
        args = ["params", *self.plan.fixed, *(["batch=1"] if self.batch else [])]
        return self._function(printer, "start", args, '"""The carry before the first step."""', inputs, lines)

    def number(self, e: Expr) -> str:
        """A constant as an array."""
        inner = e.args[0] if isinstance(e, Broadcast) else e
        value = number(inner.value) if isinstance(inner, Const) else formula(inner, {})
        if not e.dims:
            return value
        shape, dtype = shape_text(outward(e)), DTYPE[e.type.kind]
        make = {"0": f"np.zeros({shape}, {dtype})", "1": f"np.ones({shape}, {dtype})"}
        return make.get(value, f"np.full({shape}, {value}, {dtype})")

    def _result(self, printer: FunctionPrinter, v: View, e: Expr) -> str:
        """A value as the caller gets it: batch first, and never an array that is somebody else's."""
        value = text(v)
        if len(kept(v)) < len(v.dims):
            value = f"np.broadcast_to({value}, {shape_text(v.dims)})"
        if len(kept(v)) < len(v.dims) or isinstance(printer.values.get(v.array), (Input, Param)):
            value += ".copy()"
        times = len(e.axes)
        return value + (outwards(times, len(e.shape)) if times > 1 and BATCH in e.axes else "")

    # ------------------------------------------------------------ step

    def step(self) -> str:
        """One step: the outputs, and the next carry."""
        printer, function, plan = self.printer("step"), self.steps.functions["step"], self.plan
        equations = plan.step.equations
        result = {k: self.number(function.numbers[k]) if k in function.numbers else
                  self._result(printer, function.results[k], equations[k]) for k in (*plan.outputs, *plan.after.values())}
        after = [f"{quoted(k)}: {result[name]}" for k, name in plan.after.items()]
        if self.axis in plan.carry:
            after.append(f'"{self.axis}": carry["{self.axis}"] + 1')
        if len(after) < len(plan.carry):
            after.insert(0, "**carry")
        outputs = [f"{quoted(k)}: {result[k]}" for k in plan.outputs]
        lines = [*printer.body().lines, *entries("    return ", [outputs, after])]
        inputs = self._inputs(printer, "step", [*plan.given], lines)
        what = f'"""One step along {self.axis}: {prose(", ".join(plan.outputs))} and the carry of the next step."""'
        return self._function(printer, "step", ["params", "carry", *plan.given], what, inputs, lines)

    def _inputs(self, printer: FunctionPrinter, name: str, given: list[str], body: list[str]) -> list[str]:
        """Inputs checked, and the entries of the carry; lengths are read where they are needed."""
        system = self.steps.systems[name]
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Input)}
        entry, known, lines = Entry(name, system, printer, self.uses), set[str](), list[str]()
        for k in sorted((k for k in given if k in local), key=lambda k: -len(system.inputs[k].axes)):
            lines += entry._input(k, local[k], known)
        for k, i in self.plan.carry.items() if name == "step" else ():
            if k in local:
                lines += self._slot(k, i, local[k], known)
        keep = []
        for n, line in enumerate(lines):                         # lengths that nobody reads are not asked for
            word = re.match(r"    (\w+) = (len\(\w+\)|\w+\.shape\[\d+\])$", line)
            if word is None or reads(word[1], [*lines[n + 1:], *body]):
                keep.append(line)
        return keep

    def _slot(self, key: str, node: Input, name: str, known: set[str]) -> list[str]:
        """One entry of the carry."""
        if key == self.axis:
            return [f'    {name} = dtype.type(carry["{key}"])']
        self.uses.add("carry_entry")
        dims = outward(node)
        unknown = [not {*d.symbols} <= {*self.system.sizes, *known} for d in dims]
        shown = ["None" if u else d.format() for u, d in zip(unknown, dims, strict=True)]
        lines = wrapped(f"    {name} = carry_entry(carry, {quoted(key)}, ({', '.join(shown)}{',' if len(dims) == 1 else ''}))",
                        "# " + shape_text(dims))
        for k, (u, d) in enumerate(zip(unknown, dims, strict=True)):
            if u and d.symbols == (str(d),) and str(d) not in known:
                known.add(str(d))
                lines.append(f"    {d} = {f'len({name})' if k == 0 else f'{name}.shape[{k}]'}")
        if len(node.axes) > 1 and BATCH in node.axes:
            lines.append(f"{f'    {name} = {name}{inwards(len(node.axes), len(node.shape))}':<64}# time first inside")
        return lines

    def _function(self, printer: FunctionPrinter, name: str, args: list[str], what: str, inputs: list[str],
                  lines: list[str]) -> str:
        """The text of a function; where an input's name has another meaning inside, the work is a function of its own."""
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Input)}
        inner = [local.get(a, a) if a in self.system.inputs else a for a in args]
        head = ["    check_params(params, PARAMS)", *self.params(printer)]
        if reads("dtype", [*inputs, *lines]):
            head.append(f"    dtype = {self.dtype({k: local[k] for k in args if k in local})}")
        body = "\n".join([*head, *inputs, *lines]) + "\n"
        if inner == args:
            return f"def {name}({', '.join(args)}):\n    {what}\n{body}"
        call = ", ".join(a.partition("=")[0] for a in args)
        return (f"def {name}({', '.join(args)}):\n    {what}\n    return _{name}({call})\n\n\n"
                f"def _{name}({', '.join(inner)}):\n    {what}\n{body}")

    def params(self, printer: FunctionPrinter) -> list[str]:
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Param)}
        every = (*self.system.params, *self.system.stats)
        used = [k for k in every if k in local]
        return unpack([local[k] for k in used], "params", used, every)

    def dtype(self, given: Mapping[str, str] | None = None) -> str:
        """The type of all numbers; `given`: the inputs at hand, and what they are called."""
        return dtype_text(self.system, given or {})


# ---------------------------------------------------------------- words

def slot_name(key: str) -> str:
    """h[-1] -> h_before, h[-2] -> h_before2; anything else as it is."""
    found = re.fullmatch(r"(.*)\[-(\d+)\]('*)", key)
    if found is None:
        return key
    k = "" if found[2] == "1" else found[2]
    return f"{identifier(found[1])}_before{k}"


def outward(e: Expr) -> tuple[Size, ...]:
    """The dims of a value as the caller sees it: batch first, then time, then features."""
    order = sorted(e.axes, key=lambda x: x != BATCH)
    return (*(length(a) for a in order), *e.shape)


def entries(before: str, dicts: list[list[str]]) -> list[str]:
    """Dicts on one line, or one below the other."""
    line = before + ", ".join("{" + ", ".join(d) + "}" for d in dicts)
    if len(line) <= 100:
        return [line]
    lines = [f"{before}{{"]
    for k, d in enumerate(dicts):
        lines += [f"        {item}," for item in d]
        lines.append("    }, {" if k < len(dicts) - 1 else "    }")
    return lines


def reads(word: str, lines: list[str]) -> bool:
    """Whether code (not a comment) names a word."""
    return any(re.search(rf"(?<![\w.\"]){re.escape(word)}(?![\w\"])", line.split("  #")[0]) for line in lines
               if not line.lstrip().startswith("#"))
