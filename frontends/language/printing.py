"""System -> model text that parses to the identical system.

Every node has a notation: the one that a person would write where the elaborator makes exactly this node of it, else the function
that is named as the node (see `rarely`). Equations stand after what they read at the same step.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable, Iterator

from ...compiler.formulas.terms import Term
from ...compiler.formulas.text import to_text as term_text
from ...compiler.graph import BATCH, BOOL, Expr, Extent, Input, Map, Param, Reduce, Size, apply, count
from ...compiler.moves import Broadcast
from ...compiler.node import base
from ...compiler.system import Average, Initialiser, Parameter, Stat, System, Training
from .boundaries import Boundaries, boundaries_of
from .declarations import RESERVED_INPUTS
from .estimators import estimator_text, inside
from .exact import ExactReader, PrintingError
from .feedback import feedback_text
from .functions import REDUCING
from .lengths import lengths_text, own_inputs
from .printing_blocks import recipe_text

WORDS = (*REDUCING, "softmax", "log_softmax", BATCH, "last", "true", "false", "inf", "pi")
LARGEST_TREE = 200_000                                   # terms of one formula; more is a graph that no text can hold


def to_text(system: System) -> str:
    """The model text of a system; PrintingError where it holds something that the language cannot say."""
    check_names(system)
    printer = _Printer(system)
    blocks = [[printer.header()], printer.declarations(), printer.equations(), recipe_text(system, printer.text, _block),
              printer.objective(), printer.running()]
    return "\n\n".join("\n".join(b) for b in blocks if b) + "\n"


def equation_terms(system: System) -> Iterator[tuple[str, Expr, Term]]:
    """The equations as the language writes them, each after what it reads: name, expression, right side; an energy is `E`."""
    return _Printer(system).terms()


def expression_text(system: System, e: Expr) -> str:
    """Part of an equation as the language writes it."""
    printer = _Printer(system)
    printer.reader.done.update(dict.fromkeys(system.equations))
    return term_text(printer.reader.term(e), exact=True)


NAME = re.compile(r"[^\W\d]\w*(\.(?!T\b)\w+)*")


def check_names(system: System) -> None:
    """PrintingError for a name that the text would read as something else."""
    for name in (system.name, *system.sizes, *system.inputs, *system.params, *system.stats, *system.equations, *system.metrics):
        if not NAME.fullmatch(name) or name.startswith("__") or name in WORDS:
            raise PrintingError(f"`{name}` cannot be a name in a text")
    for name in own_inputs(system):
        if name in RESERVED_INPUTS or name.startswith("lengths") or keyword.iskeyword(name) or "." in name:
            raise PrintingError(f"`{name}` cannot name an input in a text")


class _Printer:
    def __init__(self, system: System) -> None:
        self.system = system
        self.order = list(ordered(system))
        self.bounds: Boundaries = boundaries_of(system)
        self.reader = ExactReader(system, self.order, self.bounds)

    def text(self, e: Expr, name: str = "") -> str:
        """A formula; `name` is the equation that it is the right side of."""
        term = self.reader.right_side(e, name)
        if term.weight > LARGEST_TREE:
            raise PrintingError(f"the formula of {name or 'an expression'} is too large to write: name its parts")
        return term_text(term, exact=True)

    def terms(self) -> Iterator[tuple[str, Expr, Term]]:
        """Every equation with its right side, the energy last."""
        for name in self.order:
            e = self.system.equations[name]
            yield name, e, self.reader.right_side(e, name)
            self.reader.done[name] = None
        if self.system.energy is not None:
            e = self.system.energy.value
            yield "E", e, self.reader.right_side(e, "E")

    # ---- header and declarations

    def header(self) -> str:
        sizes = ", ".join(f"{k} = {v}" for k, v in self.system.sizes.items())
        return f"{'energy' if self.system.energy else 'model'} {self.system.name}" + (f"({sizes})" if sizes else "")

    def declarations(self) -> list[str]:
        s = self.system
        lines = []
        first = [n for n in own_inputs(s) if n not in s.targets]
        for name in (*first, *s.targets):
            lines.append(self.input(name, s.inputs[name]))
        declared = {a for i in s.inputs.values() for a in i.axes}
        axes = {a for n in s.nodes() for a in n.axes if a not in declared and a != BATCH} | {*s.lengths} - declared
        lines += [f"time {axis}" for axis in sorted(axes) if base(axis) == axis]
        lines += [f"time {self.reader.axis(axis)} over {base(axis)}" for axis in sorted(axes) if base(axis) != axis]
        lines += lengths_text(s)
        lines += [_parameter(p) for p in s.params.values()]
        lines += [self.stat(x) for x in s.stats.values()]
        return lines

    def input(self, name: str, node: Input) -> str:
        if BATCH not in node.axes or node.name != name:
            raise PrintingError(f"the input {name} has no batch axis")
        places = [*(a for a in node.axes if a != BATCH), *map(str, node.shape)]
        units = next((u for u in self.system.energy.layers if u.node is node), None) if self.system.energy else None
        if units is not None:
            kind = units.kind + ("(mean)" if self.system.domains.get(name) == "unit" else "")
            return f"{'visible' if units.visible else 'hidden'} {name}" + (f"[{', '.join(places)}]" if places else "") \
                + f" : {kind}"
        kind = "target" if name in self.system.targets else "input"
        type_ = self.system.domains.get(name) or (str(node.type) if node.type.kind != "class" else
                                                  f"class({node.type.n or Size({})})")
        text = f"{kind} {name}" + (f"[{', '.join(places)}]" if places else "")
        return text + (f" : {type_}" if type_ != "real" else "") + self.where(node)

    def stat(self, x: Stat) -> str:
        update = x.update.args[0] if isinstance(x.update, Broadcast) and not x.update.args[0].shape else x.update
        text = self.text(update, x.node.name)
        if x.init.kind != "constant":
            raise PrintingError(f"the stat {x.node.name} does not start at a constant")
        value = f"average[batches]({text})" if x.average else text
        return f"stat {_left(x.node)} = {_float(x.init.values[0])} <- {value}"

    # ---- equations

    def equations(self) -> list[str]:
        lines = []
        width = max((len(self.left(n)) for n in self.order), default=0)
        for name in self.order:
            e = self.system.equations[name]
            right = self.text(e, name)
            self.reader.done[name] = None
            lines.append(f"{self.left(name):<{width}} = {right}" + self.where(e, name))
        if self.system.energy is not None:
            lines.append(f"{'E':<{width}} = {self.text(self.system.energy.value, 'E')}")
        return lines

    def left(self, name: str) -> str:
        e = self.system.equations[name]
        times = [self.reader.axis(a) for a in e.axes if a != BATCH]
        if times and name in self.reader.cyclic:                 # a cycle's shapes need not be guessed
            times += map(str, e.shape)
        return name + (f"[{', '.join(times)}]" if times else "")

    def where(self, e: Expr, name: str = "") -> str:
        """The boundary values of a variable."""
        if name and self.reader.called.get(e) not in (name, None):
            return ""
        own = e.name if isinstance(e, Input) else name
        found = [f"{own}[{self.bounds.place(key, e.axes, self.reader.axis)}] = {self.text(init)}"
                 for key, init in self.bounds.of(own)]
        return "   where " + ", ".join(found) if found else ""

    # ---- loss, penalties, metrics, outputs

    def objective(self) -> list[str]:
        s = self.system
        lines = [f"loss = {self.average(s.loss, 'loss')}"] if s.loss else []
        lines += [f"penalty {p.kind}({_float(p.weight)}) on {', '.join(p.params)}" for p in s.penalties]
        lines += [f"metric {name} = {self.average(a, 'metric')}" for name, a in s.metrics.items()]
        lines += [f"output {', '.join(s.outputs)}"] if s.outputs else []
        lines += [feedback_text(s, self.reader, self.text)] if s.feedback else []
        return [*lines, *(f"on_backward {self.watched(name)}: {self.text(e)}" for name, (_, e) in s.surgery.items())]

    def watched(self, name: str) -> str:
        times = [self.reader.axis(a) for a in self.system.equations[name].axes if a != BATCH]
        return name + (f"[{', '.join(times)}]" if times else "")

    def average(self, a: Average, frame: str) -> str:
        """`mean[batch, t](value)` where total and count are that, a plain value where they are, else both."""
        total = a.total
        if isinstance(total, Reduce) and total.kind == "sum" and BATCH in total.over and all(
                isinstance(o, str) for o in total.over) and a.count is Extent(count(total.args[0], total.over)):
            value = total.args[0]
            plain = value.args[0] if isinstance(value, Map) and value.f == "real" and value.args[0].type == BOOL else value
            return f"mean[{', '.join(map(str, total.over))}]({self.text(plain, frame)})"
        batch = Extent(Size({("B",): 1}))
        if isinstance(total, Map) and total.f == "mul" and a.count is batch:
            value = total.args[0]
            if not isinstance(value, Extent) and not value.axes and apply("mul", value, batch) is total:
                return self.text(value, frame)
        return f"average({self.text(total, frame)}, {self.text(a.count)})"

    # ---- train and data

    def running(self) -> list[str]:
        lines = []
        if self.system.data is not None:
            d = self.system.data
            options = ", ".join(_word(v) if k.isdigit() else f"{k} = {_word(v)}" for k, v in d.options)
            columns = [f"{k} = {v}" for k, v in d.columns]
            columns += [f"only {d.only}"] if d.only else []
            columns += [f"split {' / '.join(map(str, d.split))}"] if d.split else []
            columns += [f"labelled {d.labelled}"] if d.labelled else []
            source = d.source + (f"({options})" if options else "")
            lines.append(f"data {source}" + (f": {', '.join(columns)}" if columns else ""))
        settings = list(_training(self.system.training))
        return [*lines, *([f"train {', '.join(settings)}"] if settings else [])]


def _block(system: System, own: tuple[str, ...], feeds: dict[str, str]) -> list[str]:
    """The statements of a pretrain block; `feeds` are its visible units' sources, equations that are not its own the model's."""
    printer = _Printer(system)
    units = [printer.input(u.name, u.node) + (f" = {feeds[u.name]}" if u.visible else "")
             for u in (system.energy.layers if system.energy else ())]
    printer.reader.done.update(dict.fromkeys(n for n in printer.order if n not in own))
    printer.order = [n for n in printer.order if n in own]
    return [*units, *printer.equations(), *printer.objective(), *printer.running()]


def _parameter(p: Parameter) -> str:
    return f"param {_left(p.node)} {_initial(p.init)}"


def _left(node: Param) -> str:
    """W[H, D]; a number first would be read as the member of a family, parentheses prevent that."""
    sizes = [str(x) for x in node.shape]
    if sizes and sizes[0].isdigit():
        sizes[0] = f"({sizes[0]})"
    return node.name + (f"[{', '.join(sizes)}]" if sizes else "")


def _initial(init: Initialiser) -> str:
    if init.kind == "constant":
        return f"= {_float(init.values[0])}"
    return f"~ {init.kind}" + (f"({', '.join(map(_float, init.values))})" if init.values else "")


def _float(x: float) -> str:
    return str(int(x)) if x == int(x) and abs(x) < 1e15 else repr(x)


def _word(value: float | str) -> str:
    if not isinstance(value, str):
        return _float(value)
    return value if value.isidentifier() and value.islower() else f'"{value}"'


def _training(t: Training) -> Iterator[str]:
    """The options of the train line, as far as they are not the defaults."""
    usual = Training()
    if t.estimator is not None:
        yield estimator_text(t)
    if (t.estimator is None or not inside(t)) and (t.optimiser, t.options) != (usual.optimiser, usual.options):
        yield t.optimiser + _options(t.options)
    for name in ("clip_norm", "clip_value", "truncate", "epochs", "batch", "patience"):
        value = getattr(t, name)
        if value != getattr(usual, name):
            yield f"{name} = {_float(value)}"
    if t.checkpoint is not None:
        yield f"checkpoint = {t.checkpoint}"
    if (t.schedule, t.schedule_options) != (usual.schedule, usual.schedule_options):
        yield f"schedule {t.schedule}" + _options(t.schedule_options)
    if t.freeze:
        yield f"freeze {' '.join(t.freeze)}"
    for name, rate in t.rates:
        yield f"rate {name} = {_float(rate)}"
    for kind, weight, names in t.decay:
        yield f"{kind}({_float(weight)}) on {' '.join(names)}"
    for kind, bound in (("max_norm", t.max_norm), ("l1_ball", t.l1_ball)):
        if bound is not None:
            yield f"{kind}({_float(bound[0])}) on {' '.join(bound[1])}"


def _options(options: Iterable[tuple[str, float | str | bool]]) -> str:
    words = [f"{k} = {str(v).lower() if isinstance(v, bool) else _word(v)}" for k, v in options]
    return f"({', '.join(words)})" if words else ""


def ordered(system: System) -> Iterator[str]:
    """The equations, each after the ones whose expressions it reads; otherwise as they stand."""
    first = {e: n for n, e in reversed(system.equations.items())}
    seen: set[Expr] = set()
    emitted: dict[str, None] = {}
    for name, root in system.equations.items():
        stack = [(root, False)]
        while stack:
            e, done = stack.pop()
            if done:
                if e in first and first[e] not in emitted:
                    emitted[first[e]] = None
                    yield first[e]
            elif e not in seen:
                seen.add(e)
                stack.append((e, True))
                stack.extend((a, False) for a in reversed(e.args) if a not in seen)
        if name not in emitted:                                  # a second name of one expression
            emitted[name] = None
            yield name


__all__ = ["PrintingError", "equation_terms", "expression_text", "ordered", "to_text"]
