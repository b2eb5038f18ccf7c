"""A model while it is written: its lines, and the values that stand in them, by axes and shape. See `random_models`."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, replace
from itertools import accumulate

BOUNDED = ("tanh", "sigmoid", "softsign", "hard_tanh", "arctan", "sin", "cos", "erf", "relu6", "hard_sigmoid")
GROWING = ("relu", "softplus", "gelu", "gelu_tanh", "elu", "selu", "leaky_relu", "swish", "silu", "mish", "log_sigmoid", "abs")
NUMBERS = ("0.5", "0.3", "2", "-1", "1.5", "0.1", "1/3")
STARTS = ("0", "0.1", "-0.3")


@dataclass(frozen=True)
class Value:
    """What stands in a model: its text, feature dims (numbers, or texts of sizes), time axes; whether it carries the batch, how
    many factors that grow with the inputs it has, and the kind of an input that is no real number.
    """

    text: str
    shape: tuple = ()
    axes: tuple = ()
    batch: bool = True
    power: int = 1
    kind: str = "real"

    @property
    def rank(self):
        """How many feature dims."""
        return len(self.shape)

    @property
    def name(self):
        """The name alone, where the value is an equation or an input."""
        found = re.fullmatch(r"([A-Za-z]\w*)(\[[a-z, ]+\])?", self.text)
        return found and found[1]


def times(*values):
    """The time axes of what is computed from these."""
    return tuple(dict.fromkeys(a for v in values for a in v.axes))


class Draft:
    """Lines of a model, and its values. `loop`: what is written now stands inside a cycle, so nothing may sum over time."""

    def __init__(self, r, sizes=None):
        self.r, self.sizes = r, sizes if sizes is not None else {}
        self.head, self.params, self.lines, self.values, self.matrices, self.count = [], [], [], [], [], 0
        self.kind, self.time, self.loop, self.ahead, self.ranges, self.inner = None, (), False, True, False, False

    # ------------------------------------------------------------ names and sizes

    def fresh(self, prefix):
        """A name that nothing has yet."""
        self.count += 1
        return f"{prefix}{self.count}"

    def n(self, dim):
        """A dim as a number."""
        return dim if isinstance(dim, int) else eval(dim, {}, self.sizes)

    def dim(self):
        """A size: a number, or a name that the header declares."""
        if self.sizes and self.r.random() < 0.4:
            return self.r.choice([*self.sizes])
        return self.r.choice((1, 1, 2, 3, 3, 4, 5, 6, 9, 17))

    def chance(self, p):
        """True with that probability."""
        return self.r.random() < p

    # ------------------------------------------------------------ values

    def pick(self, rank=None, wanted=lambda v: True):
        """One of the values, rather of the last ones; None where there is none."""
        fit = [v for v in self.values if v.kind == "real" and (rank is None or v.rank == rank) and wanted(v)]
        return self.r.choice(fit[-4:] if self.chance(0.6) else fit) if fit else None

    def like(self, v):
        """Another value of that shape, or itself."""
        return self.pick(v.rank, lambda u: u.shape == v.shape) or v

    def param(self, shape):
        """A parameter of that shape."""
        name = self.fresh(("b", "b", "W", "K", "K")[len(shape)])
        init = self.r.choice(("~ normal(0.5)", "~ uniform(0.7)", "= 0.1") if len(shape) != 2 else
                             ("~ normal(0.5)", "~ xavier", "~ he", "~ orthogonal", "~ identity(0.5)"))
        inside = f"[{', '.join(map(str, shape))}]" if shape else ""
        self.params.append(f"param {name}{inside} {init}")
        if len(shape) == 2:
            self.matrices.append((name, shape))
        return name

    def matrix(self, rows, columns):
        """The text of a matrix: new, one that is there, transposed where it fits so, or computed of parameters."""
        fit = [m for m, s in self.matrices if s == (rows, columns)] + [f"{m}.T" for m, s in self.matrices if s == (columns, rows)]
        if fit and self.chance(0.35):
            return self.r.choice(fit)
        k = self.r.random()
        if k < 0.08:
            return f"{self.param((columns, rows))}.T"
        if k < 0.12:
            return f"tanh({self.param((rows, columns))})"
        name = self.param((rows, columns))
        return f"({name} / (0.1 + norm({name})))" if k < 0.15 and self.n(rows) > 1 else name

    def equation(self, v, clause=""):
        """A line that names a value."""
        name = self.fresh("h")
        text = v.text[1:-1] if v.text[0] == "(" and closes(v.text) == len(v.text) - 1 and self.chance(0.7) else v.text
        left = f"{name}[{', '.join(v.axes)}]" if v.axes else name
        self.lines.append(f"{left} = {text}{clause}")
        return self.add(replace(v, text=left))

    def add(self, v):
        """Let a value be read from now on."""
        self.values.append(v)
        return v

    def settled(self, v):
        """A value among the others: mostly a line of its own, else inside what reads it; what grew too much is bounded."""
        if v.power > 3:
            v = replace(v, text=f"{self.r.choice(BOUNDED[:3])}({v.text})", power=0)
        clause = self.bounds(v) if not self.loop and v.axes and self.chance(0.12) else ""
        if clause or self.chance(0.75) or len(v.text) > 70:
            named = self.equation(v, clause[0] if clause else "")
            for by in clause[1] if clause else ():
                self.add(replace(v, text=named.text.replace("[t", f"[t{by}", 1)))
            return named
        return self.add(v)

    def bounds(self, v):
        """A clause of boundaries along t, and the steps that may be read then."""
        if "t" not in v.axes or v.axes[0] != "t":
            return ""
        where = "[<0]", "[-1]", "[>=T]", "[T]"
        kind = self.r.choice(where if self.ahead else where[:2])
        reads = {"[<0]": ("-1", "-2", "-3"), "[-1]": ("-1",), "[>=T]": ("+1", "+2"), "[T]": ("+1",)}[kind]
        return f" where @{kind} = {self.start(v)}".replace("@", f"h{self.count + 1}"), reads

    def start(self, v):
        """A boundary value: a number, a parameter, a value without time."""
        k = self.r.random()
        if k < 0.5:
            return self.r.choice(STARTS)
        still = self.pick(v.rank, lambda u: u.shape == v.shape and not u.axes and u.batch and u.name) if not self.inner else None
        return still.text if still and k < 0.8 else self.param(v.shape)

    def activation(self, v):
        """An activation of a value; those that are bounded end its growth."""
        f = self.r.choice(BOUNDED if self.chance(0.6) else GROWING)
        if f in BOUNDED:
            return replace(v, text=f"{f}({v.text})", power=0)
        return replace(v, text=f"{f}({v.text})")


def closes(text):
    """Where the first parenthesis closes."""
    depths = accumulate((c in "([") - (c in ")]") for c in text)
    return next(k for k, depth in enumerate(depths) if depth == 0)


def draft(seed):
    """An empty one, with some sizes that have names."""
    r = random.Random(seed)
    return Draft(r, {k: r.choice((1, 2, 3, 4, 5, 8)) for k in r.sample(("D", "H", "K"), r.randrange(0, 4))})
