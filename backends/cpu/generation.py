"""`generate`: steps and draws in turn, as the model's feedback says."""

from __future__ import annotations

from ...compiler.formulas import formula
from ...compiler.graph import BATCH, Broadcast, Expr, Input, Map, postorder
from ...compiler.node import length
from ...compiler.passes.naming import Namer, printable, quoted
from ...compiler.steps import Steps
from ...compiler.system import Feedback, System
from .entry import Entry
from .functions import wrapped
from .statements import key_text
from .steps import DTYPE, StepPrinter, reads
from .views import text

GENERATE = '''def generate({args}):
    """Draws {rule}, one step after the other: {shape}.

    It goes on from the prompt `{x}`, {prompt}, or without one from {zero}; `seed` is an int, or (seed, step).
    """'''


class GenerationPrinter:
    """Prints `generate`, which calls the `start` and `step` of the same module."""

    def __init__(self, steps: Steps, system: System, feedback: Feedback, printed: StepPrinter) -> None:
        self.steps, self.plan, self.system, self.feedback, self.printed = steps, steps.plan, system, feedback, printed
        self.x, self.t = system.inputs[feedback.input], feedback.axis
        self.T = str(length(self.t))
        self.others = [k for k in self.plan.given if k != self.x.name]
        self.fixed = [*self.plan.fixed]
        self.counted = next((k for k in self.fixed if BATCH in system.inputs[k].axes), None)     # tells how many sequences
        public = [*feedback.free, *self.fixed, *self.others, self.x.name, "params", "length", "seed", "batch"]
        names = Namer((*printed.reserved, *public))
        self.now, self.drawn = names.claim(f"{self.x.name}_now"), names.claim("drawn")
        self.u = names.claim("noise" if feedback.kind == "normal" else "u")
        self.draws = printed.printer("draw", (*public, self.t, self.now, self.drawn, self.u))
        for a, e in self.draws.values.items():
            if isinstance(e, Input) and e.name in (self.x.name, *feedback.free):
                a.name = self.now if e.name == self.x.name else e.name

    def print(self) -> str:
        """The function."""
        f, x = self.feedback, self.x
        features = [s.format() for s in x.shape]
        args = ["params", "length", "seed=0", *(f"{k}=1.0" for k in f.free), "*", *self.fixed, *self.others, f"{x.name}=None",
                *([] if self.counted else ["batch=1"])]
        lines = [*self.limits(), *self.prompt(), *self.before(), *self.loop()]
        if reads("dtype", lines):
            lines.insert(0, f"    dtype = {self.printed.dtype()}")
        head = GENERATE.format(
            args=", ".join(args), rule=printable(self.rule()), shape=_shape("B", "length", *features), x=x.name,
            prompt=_shape("B", self.T, *features), zero="a single 0" if not features else "a single step of zeros")
        return "\n".join([head, *lines]) + "\n"

    def rule(self) -> str:
        """The feedback as the model writes it."""
        f = self.feedback
        inside = ", ".join(formula(e, self.system.names, top=False, limit=40) for e in f.args)
        return f"{f.input}[{f.axis}+1] " + (f"= {inside}" if f.kind == "value" else f"~ {f.kind}({inside})")

    # ------------------------------------------------------------ its parts

    def limits(self) -> list[str]:
        """The numbers that the model leaves free; a divisor may be 0, its limit: of a temperature, the likeliest draw."""
        readers: dict[Expr, list[bool]] = {}
        for n in postorder(*self.feedback.args):
            for k, a in enumerate(n.args):
                free = a.args[0] if isinstance(a, Broadcast) else a
                if isinstance(free, Input) and free.name in self.feedback.free and not isinstance(n, Broadcast):
                    readers.setdefault(free, []).append(isinstance(n, Map) and n.f == "div" and k == 1)
        divisors = [e.name for e, divides in readers.items() if isinstance(e, Input) and all(divides)]
        if self.feedback.free:
            self.printed.uses.add("free_number")
        return [f"    {k} = max(free_number({quoted(k)}, {k}, 0), 1e-8)".ljust(62) + "  # 0 stands for its limit" if k in divisors
                else f"    {k} = free_number({quoted(k)}, {k})" for k in self.feedback.free]

    def prompt(self) -> list[str]:
        """The prompt: given, or a single step of zeros."""
        x, features = self.x.name, [s.format() for s in self.x.shape]
        count = f"len({self.counted})" if self.counted else "batch"
        entry = Entry("generate", self.system, self.draws, self.printed.uses)
        checked = [line for line in entry._input(x, x, set()) if not line.endswith("# time first inside")]
        self.printed.uses.add("whole_length")
        return ['    length = whole_length("length", length)', f"    if {x} is None:",
                f"        {x} = np.zeros({_shape(count, '1', *features)}, {DTYPE[self.x.type.kind]})", *checked,
                f"    if {self.T} == 0:", f'        raise ValueError("the prompt {x} must have at least one step")']

    def before(self) -> list[str]:
        """The carry after all of the prompt but its last step."""
        lines = []
        for k in self.others:
            lines += [f"    if np.ndim({k}) < 2 or np.shape({k})[1] < {self.T} + length - 1:",
                      f'        raise ValueError(f"{k} must have {{{self.T} + length - 1}} steps, as many as are computed")']
        start = ", ".join(["params", *self.fixed, *([] if self.counted or not self.printed.batch else ["B"])])
        step = ", ".join(["params", "carry", *self.given(self.t, f"{self.x.name}[:, {self.t}]")])
        return [*lines, f"    carry = start({start})", f"    for {self.t} in range({self.T} - 1):",
                f"        _, carry = step({step})"]

    def loop(self) -> list[str]:
        """Step, draw, and again."""
        f, x, t = self.feedback, self.x, self.t
        features = [s.format() for s in x.shape]
        lines = [*self.printed.params(self.draws), f"    {self.now} = {x.name}[:, -1]",
                 f"    {self.drawn} = np.empty({_shape('B', 'length', *features)}, {DTYPE[x.type.kind]})"]
        if f.kind != "value":
            draw = "normal" if f.kind == "normal" else "uniform"
            self.printed.uses.add(draw)
            empty = f"np.empty({_shape('length', 'B', *features)})"
            lines.append(f"    {self.u} = {draw}(seed, {key_text(f'feedback {f.input}')}, out={empty})")
        step = ", ".join(["params", "carry", *self.given(f"{self.T} - 1 + {t}", self.now)])
        outputs = "outputs" if any(k in self.plan.outputs for k in self.read()) else "_"
        lines += [f"    for {t} in range(length):", f"        {outputs}, carry = step({step})"]
        for k, name in self.read().items():
            lines.append(f"        {name} = {'outputs' if k in self.plan.outputs else 'carry'}[{quoted(k)}]")
        lines += wrapped(printable(f"        # {self.rule()}"), "")
        lines += [line for line in self.draws.body("        ").lines if not line.lstrip().startswith("#")]
        return [*lines, f"        {self.drawn}[:, {t}] = {self.value(f'{self.u}[{t}]')}",
                f"        {self.now} = {self.drawn}[:, {t}]", f"    return {self.drawn}"]

    def given(self, t: str, fed: str) -> list[str]:
        """The inputs of a step."""
        return [fed if k == self.x.name else f"{k}[:, {t}]" for k in self.plan.given]

    def read(self) -> dict[str, str]:
        """What the draw reads of the step and of the carry, and what it is called here."""
        return {e.name: a.name for a, e in self.draws.values.items()
                if isinstance(e, Input) and e.name in (*self.plan.outputs, *self.plan.carry)}

    def value(self, u: str) -> str:
        """The next step from what the feedback says of it."""
        function, plan = self.steps.functions["draw"], self.plan.draw
        assert plan is not None
        args = [self.printed.number(function.numbers[k]) if k in function.numbers else text(function.results[k])
                for k in plan.equations]
        match self.feedback.kind:
            case "categorical":
                self.printed.uses.add("categorical")
                if not self.plan.softmax:
                    return f"categorical({args[0]}, {u})"
                self.printed.uses.add("softmax")
                return f"categorical(softmax({args[0]}), {u})"
            case "bernoulli":
                return f"{u} < {args[0]}"
            case "normal":
                return f"{args[0]} + {args[1]} * {u}"
        return args[0]


def _shape(*dims: str) -> str:
    return f"({', '.join(dims)})"


__all__ = ["GenerationPrinter"]
