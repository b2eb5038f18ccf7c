"""A kernel as ufunc calls with `out=`: no array is allocated.

The scalar body becomes a list of operations on registers; each register is then kept in the kernel's own output or in a
scratch array of the workspace. An operation writes in the place of an operand that dies there, so that a chain of
operations runs in one array. The heavier operand goes first (Sethi and Ullman 1970), which keeps scratch arrays few.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...compiler.graph import length
from ...compiler.program import BOOL, REAL, Array, Call, Hot, Kernel, Literal, Load, Scalar, SizeOf, Step, View, leaves
from .expressions import BINARY, UFUNC, Expressions, Numbers, column, number, truth
from .views import text

UFUNCS = {**UFUNC, "add": "np.add", "sub": "np.subtract", "mul": "np.multiply", "div": "np.divide", "pow": "np.power",
          "neg": "np.negative", "square": "np.square", "lt": "np.less", "le": "np.less_equal", "gt": "np.greater",
          "ge": "np.greater_equal", "eq": "np.equal", "ne": "np.not_equal", "and": "np.logical_and", "or": "np.logical_or",
          "round": "np.rint"}
COMPARISONS = {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}
ARITHMETIC = {"add", "sub", "mul", "div", "maximum", "minimum"}      # what takes a truth value beside a number
AUGMENTED = {"add": "+=", "sub": "-=", "mul": "*=", "div": "/="}
COMMUTES = {"add", "mul"}
SCRATCH = {"softplus": 1, "log1mexp": 1, "logaddexp": 1}   # arrays a helper needs
IN_PLACE = {"sigmoid", "safe_div"}                       # helpers whose output may be an operand


@dataclass(eq=False)
class Register:
    """An intermediate value: its kind, and where it is kept once that is decided."""

    kind: str
    place: str = ""
    last: int = -1                                       # the operation that reads it last


@dataclass(eq=False)
class Web:
    """Registers that share one memory: written first by one operation, needed up to another."""

    kind: str
    start: int
    last: int = -1
    registers: list[Register] = field(default_factory=list)


Operand = Register | str
OUT = "{out}"


@dataclass
class Operation:
    """One line: f applied to operands, into a register; `tied`: the register is the first operand's, changed in place."""

    f: str
    out: Register
    args: list[Operand]
    tied: bool = False
    scratch: list[str] = field(default_factory=list)


class Lowered:
    """A kernel's operations, and the scratch arrays that they need."""

    def __init__(self, kernel: Kernel, uses: set[str], sizes: dict[str, str] | None = None,
                 numbers: Numbers | None = None) -> None:
        self.kernel, self.uses, self.sizes = kernel, uses, sizes
        self.expressions = Expressions(uses, sizes, numbers=numbers)
        self.operations: list[Operation] = []
        self.scratch: list[Array] = []
        self.memo: dict[Scalar, Operand] = {}
        self.same = {text(x.view, sizes) for x in leaves(kernel.body) if isinstance(x, Load)      # the output's own elements
                     and x.view.array.home is kernel.out.array.home and x.view.along == kernel.out.along}
        result = self._operand(kernel.body)
        if not isinstance(result, Register):                     # a plain copy, or a constant
            result = self._do("copy", [result], kernel.out.array.kind)
        self._place(result)

    # ------------------------------------------------------------ operations

    def _do(self, f: str, args: list[Operand], kind: str, tied: bool = False) -> Register:
        out = Register(kind)
        for a in args:
            if isinstance(a, Register):
                a.last = len(self.operations)
        self.operations.append(Operation(f, out, args, tied))
        return out

    def _operand(self, s: Scalar) -> Operand:
        if s not in self.memo:
            self.memo[s] = self._evaluate(s)
        return self.memo[s]

    def _evaluate(self, s: Scalar) -> Operand:
        if not any(isinstance(x, (Hot, Step)) or (isinstance(x, Load) and x.view.array.dims) for x in leaves(s)):
            return self.expressions.at(s, 2)                     # numbers only
        match s:
            case Load(v):
                return text(v, self.sizes)
            case Hot(v):
                self.uses.add("hot")
                return self._do("hot", [_index(v, self.sizes), v.dims[-1].format(self.sizes)], BOOL)
            case Step(dim, axis):
                return axis if dim is None else column(f"np.arange({length(axis)})", dim, len(self.kernel.dims))
            case Call(f, args, kind):
                return self._call(f, args, kind)
        raise TypeError(s)

    def _call(self, f: str, args: tuple[Scalar, ...], kind: str) -> Operand:
        if f in ("sub", "add") and isinstance(args[1], Hot) and not isinstance(args[0], (Literal, SizeOf)):
            return self._onehot_update(args[0], args[1].view, "-1" if f == "sub" else "1")
        if f == "select":
            return self._select(*args)
        if f in ("add", "sub") and _masked(args[1]):
            return self._masked_update(f, *args)
        if f == "add" and _masked(args[0]):
            return self._masked_update(f, args[1], args[0])
        if f == "real":
            inner = self._operand(args[0])
            return inner                                         # a mask multiplies as 0 and 1
        if f == "relu":
            return self._call("maximum", (args[0], Literal(0)), REAL)
        heavy = sorted(range(len(args)), key=lambda i: -need(args[i]))
        operands: dict[int, Operand] = {i: self._operand(args[i]) for i in heavy}
        values = [operands[i] for i in range(len(args))]
        if f not in UFUNCS:
            self.uses.add(f)
        if f not in COMPARISONS:
            keep = f in ARITHMETIC and not all(map(truth, args))     # NumPy computes mask * x, but exp(mask) in half precision
            values = [self._do("copy", [v], REAL) if truth(a) and not keep else v for a, v in zip(args, values, strict=True)]
        return self._do(f, values, kind)

    def _writable(self, s: Scalar) -> Register:
        """A register that holds s and that nobody else reads."""
        value = self._operand(s)
        if isinstance(value, Register) and value.kind == REAL and value.last < 0:
            self.memo.pop(s, None)
            return value
        return self._do("copy", [value], REAL)

    def _onehot_update(self, base: Scalar, index: View, value: str) -> Operand:
        self.uses.add("add_onehot")
        return self._do("add_onehot", [self._writable(base), _index(index, self.sizes), value], REAL, tied=True)

    def _select(self, c: Scalar, a: Scalar, b: Scalar) -> Operand:
        """b, then a where c; the branch that is an array of its own comes first, and the other is copied over it."""
        if isinstance(b, Literal) and isinstance(a, Load) and text(a.view, self.sizes) not in self.same:
            zeros = self._do("copy", [self._operand(b)], REAL)
            return self._do("where", [zeros, self._operand(a), self._operand(c)], REAL, tied=True)
        if isinstance(b, Literal) or need(a) > need(b):
            kept, other = a, b
            mask = self._not(c) if need(a) <= need(c) else None
            base = self._writable(kept)
            mask = mask or self._not(c)
        else:
            kept, other = b, a
            base = self._writable(kept)
            mask = self._operand(c)
        value = self._operand(other)
        return self._do("where", [base, value, mask], REAL, tied=True)

    def _masked_update(self, f: str, base: Scalar, masked: Scalar) -> Operand:
        """base + select(c, a, 0): a is added where c."""
        assert isinstance(masked, Call)
        c, a, _ = masked.args
        return self._do(f + " where", [self._writable(base), self._operand(a), self._operand(c)], REAL, tied=True)

    def _not(self, c: Scalar) -> Operand:
        """Where a condition does not hold; a condition that is one truth value for all elements stays one."""
        if isinstance(c, Load):
            return f"{'~' if c.view.array.dims else 'not '}{self.expressions.text(c)}"
        return self._operand(Call("not", (c,), BOOL))

    # ------------------------------------------------------------ places

    def _place(self, result: Register) -> None:
        """Give every register the output's place or a scratch array: the result first, then in the order of their writing."""
        webs = self._webs()
        final = next(w for w in webs if result in w.registers)
        final.last = len(self.operations)
        held: dict[str, list[Web]] = {}
        for w in (final, *(w for w in webs if w is not final)):
            dying = [p for p, others in held.items() if any(o.last == w.start for o in others)]
            wanted = [OUT] * self._may_take_out(w, w is final) + [p for p in (*dying, *held) if p != OUT]
            place = next((p for p in wanted if p == OUT or p.startswith("{" + w.kind)
                          if not any(self._conflict(w, o) for o in held.get(p, []))), None) or self._fresh(w.kind)
            held.setdefault(place, []).append(w)
            for r in w.registers:
                r.place = place
        for i, op in enumerate(self.operations):
            busy = {p for p, others in held.items() if any(o.start <= i <= o.last for o in others)}
            for _ in range(SCRATCH.get(op.f, 0)):
                free = [f"{{{a.kind}{k}}}" for k, a in enumerate(a for a in self.scratch if a.kind == REAL)]
                place = next((p for p in free if p not in busy), None) or self._fresh(REAL)
                busy.add(place)
                op.scratch.append(place)
        if result.place != OUT:                                  # the output's old elements were needed to the end
            self.operations.append(Operation("copy", Register(self.kernel.out.array.kind, OUT), [result]))

    def _webs(self) -> list[Web]:
        """Registers that are one memory, since one changes the other in place; in the order of their first writing."""
        webs: dict[Register, Web] = {}
        for i, op in enumerate(self.operations):
            base = op.args[0] if op.tied else None
            w = webs[base] if isinstance(base, Register) else Web(op.out.kind, i)
            webs[op.out] = w
            w.registers.append(op.out)
            w.last = max(w.last, op.out.last, i)
        return list(dict.fromkeys(webs.values()))

    def _may_take_out(self, w: Web, final: bool) -> bool:
        """Whether nothing reads the output's old elements once w is written there."""
        if not final and w.kind != self.kernel.out.array.kind:
            return False
        reading = [i for i, op in enumerate(self.operations) for a in op.args if isinstance(a, str) and a in self.same]
        return all(i < w.start or (i == w.start and self._aliasable(i)) for i in reading)

    def _aliasable(self, i: int) -> bool:
        """Whether an operation may write over its operands."""
        op = self.operations[i]
        return op.f in UFUNCS or op.f in IN_PLACE or op.tied or op.f == "copy"

    def _conflict(self, a: Web, b: Web) -> bool:
        """Whether two values are needed at the same time."""
        first, second = (a, b) if a.start <= b.start else (b, a)
        return first.last > second.start or (first.last == second.start and not self._aliasable(second.start))

    def _fresh(self, kind: str) -> str:
        """A new scratch array."""
        place = f"{{{kind}{sum(a.kind == kind for a in self.scratch)}}}"
        self.scratch.append(Array(self.kernel.dims, kind, name=place, comment="scratch"))
        return place

    # ------------------------------------------------------------ text

    def lines(self) -> list[str]:
        """The statements; scratch arrays must have been given names."""
        places = {OUT: text(self.kernel.out, self.sizes)}
        counts = {REAL: 0, BOOL: 0}
        for a in self.scratch:
            places[f"{{{a.kind}{counts[a.kind]}}}"] = a.name
            counts[a.kind] += 1
        return [line for op in self.operations for line in self._line(op, places)]

    def _line(self, op: Operation, places: dict[str, str]) -> list[str]:
        out = places[op.out.place]
        args = [places[a.place] if isinstance(a, Register) else a for a in op.args]
        indexed = "[" in out
        here = {out, *(self.same if op.out.place == OUT else ())}       # names of the memory that is written
        if op.f in AUGMENTED and not out.endswith(")"):          # a call, such as a transposition, is no target
            if args[0] in here:
                return [f"{out} {AUGMENTED[op.f]} {args[1]}"]
            if args[1] in here and op.f in COMMUTES:
                return [f"{out} {AUGMENTED[op.f]} {args[0]}"]
        if op.f == "copy":
            return [] if args[0] in here else [f"{out}[...] = {args[0]}" if not indexed else f"{out} = {args[0]}"]
        if op.f == "where":
            return [f"np.copyto({args[0]}, {args[1]}, where={args[2]})"]
        if op.f.endswith(" where"):
            return [f"{UFUNCS[op.f.split()[0]]}({args[0]}, {args[1]}, out={out}, where={args[2]})"]
        if op.f in ("add_onehot", "hot"):
            return [f"{op.f}({', '.join(args)})" if op.f == "add_onehot" else f"hot({', '.join(args)}, out={out})"]
        name = UFUNCS.get(op.f, op.f)
        return [f"{name}({', '.join([*args, *(places[s] for s in op.scratch)])}, out={out})"]


def need(s: Scalar) -> int:
    """How many registers the evaluation of s takes at once."""
    if not isinstance(s, Call):
        return 1 if isinstance(s, Hot) else 0
    counts = sorted((need(a) for a in s.args), reverse=True)
    return max([1, *(c + i for i, c in enumerate(counts))])


def _masked(s: Scalar) -> bool:
    """select(c, a, 0), with an array of truth values and an array of numbers."""
    match s:
        case Call("select", (Load(c), Load(a), Literal(0))):
            return bool(c.array.dims and a.array.dims)
    return False


def _index(v: View, sizes: dict[str, str] | None) -> str:
    """The classes of a one-hot value, without the dim along which it is one-hot."""
    return text(View(v.array, v.along, v.dims[:-1]), sizes)


__all__ = ["BINARY", "Lowered", "need", "number"]
