"""The training step in C: look ahead, gradient, statistics, clipping, the optimiser's equations, constraints; all in place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ...compiler.graph import BATCH, Expr, Input
from ...compiler.graph import length as axis_length
from ...compiler.optimisers import OPTIMISERS
from ...compiler.passes.layout import layout
from ...compiler.passes.lower import lower
from ...compiler.passes.naming import Namer, quoted, quoted_tuple
from ...compiler.passes.schedule import schedule
from ...compiler.passes.simplify import simplify_exprs
from ...compiler.pipeline import Compiled
from ...compiler.program import Array, Call, Kernel, Load, Scalar, View, flat, leaves, reads
from ...compiler.sizes import product
from ...compiler.system import System, lengths_input
from ..cpu.updates import Updates
from .function import NativeFunction
from .kernels import length, scalar
from .words import size_name

PAD = "    "
GIVEN = "void *const *array, const int64_t *number, const double *option"


class NativeUpdates(Updates):
    """Prints `init_state` as for NumPy, `train_step` as one call, and the functions in C that it calls."""

    def __init__(self, compiled: Compiled, uses: set[str]) -> None:
        super().__init__(compiled, set())                        # helpers of the NumPy text are not needed
        self.uses = uses
        self.direct: NativeFunction | None = None                # the gradient that a step calls, where that is one function
        self.parallel = False                                    # whether several threads share the work

    def rule(self) -> str:
        """Nothing in Python."""
        return ""

    # ------------------------------------------------------------ Python

    def train_step(self, args: list[str], seeded: bool) -> str:
        """`train_step`: prepared once for arrays that stay where they are, then one call."""
        self.uses |= {"update_arrays"}
        if self.direct is None:
            self.uses |= {"update"}
            return super().train_step(args, seeded)
        self.uses |= {"TrainingStep", "Preparing"}
        chain = self.compiled.chain
        args = [k for k in args if k not in chain]
        given = [*args, *(f"state[{quoted(k)}]" for k in chain)]
        held = Namer((*args, "workspace")).claim("held")
        values = f"({', '.join(given)}{',' if len(given) == 1 else ''})"
        call = f"{', '.join(['params', 'state', *args])}, workspace"
        return "\n".join([
            f"def train_step({', '.join(['params', 'state', *args, '*', 'workspace=None'])}):",
            f'    """One step of {self.training.optimiser}, in place; the loss before it."""',
            '    workspace = workspace or getattr(state, "workspace", None) or Workspace()',
            f'    {held} = workspace.views.get("step")',
            f"    if {held} is None or not {held}.fits(params, state, {values}):",
            f'        {held} = workspace.views["step"] = _prepared_step({call})',
            f"    loss = {held}.run(state, {values}, {seeded})",
            f"    return _prepared_step({call}) if loss is None else loss    # it says what is out of range",
        ]) + "\n\n\n" + self._prepared(self.direct, args, values, call, seeded)

    def _prepared(self, printer: NativeFunction, args: list[str], values: str, call: str, seeded: bool) -> str:
        """`_prepared_step`: checks as in NumPy, and the addresses."""
        loss = len(printer.arrays()) + printer.returned.index(printer.function.results["loss"].array)
        chain = self.compiled.chain
        places = [self._place(printer, k) for k in (*args, *chain)]
        given = [*args, *(f"state[{quoted(k)}]" for k in chain), "Preparing(workspace)",
                 *(['(int(state["seed"]), 0)'] if seeded else [])]
        return "\n".join([
            f"def _prepared_step({call}):",
            '    """The addresses of all that a step in C works on; the checks of what it is given."""',
            "    check_params(params, PARAMS)",
            f'    function = LIBRARY.function("train_step", params[{self._first()}].dtype)',
            f"    grads = workspace.gradients({'{**params, **state}' if chain else 'params'}, {self._every()})",
            f"    more = update_arrays(params, grads, state, {self._tables()})",
            f"    call = _gradients({', '.join(['params', 'grads', *given])})",
            "    places = (                                                   # of each input: its place, the order of its axes",
            *(f"        {p}," for p in places),
            "    )",
            f"    return TrainingStep(function, call, more, params, state, {values}, places, {loss}{self._carried()})"]) + "\n"

    def _carried(self) -> str:
        """What a step leaves for the next one beside the parameters: persistent chains."""
        pairs = [f"(state[{quoted(k)}], grads[{quoted(k)}])" for k in self.compiled.chain]
        return f", ({', '.join(pairs)},)" if pairs else ""

    def _every(self) -> str:
        more = [*(["*STATS"] if self.system.stats else []), *map(quoted, self.compiled.chain)]
        return f"(*TRAINED, {', '.join(more)})" if more else "TRAINED"

    def _tables(self) -> str:
        return f"TRAINED, {quoted_tuple(self.rule_.slots)}, {'STATS' if self.system.stats else '()'}"

    def _place(self, printer: NativeFunction, key: str) -> str:
        """An input's place among the gradient's arrays, and the order of its axes there, seen from the caller's."""
        e = self.system.inputs[key]
        found = next(k for k, a in enumerate(printer.arrays()) if printer.values.get(a) is e)
        axes, dims = len(e.axes), len(e.axes) + len(e.shape)
        turned = axes > 1 and BATCH in e.axes
        order = (axes - 1, *range(axes - 1), *range(axes, dims)) if turned else tuple(range(dims))
        return f"({found}, {order})"

    def _store(self, add: Any) -> None:
        """In C."""

    def _clipping(self, add: Any, stats: bool) -> None:
        """In C."""

    def _constraints(self, add: Any) -> None:
        """In C."""

    def _look(self, add: Any) -> None:
        add(f'    update(LIBRARY, "look", update_arrays(params, grads, state, {self._tables()}))')

    def _loop(self, add: Any) -> None:
        add(f'    update(LIBRARY, "update", update_arrays(params, grads, state, {self._tables()}), lr, step + 1)')

    # ------------------------------------------------------------ C

    def c(self) -> str:
        """The rule and the step."""
        name = self.training.optimiser
        doc = (OPTIMISERS[name][1].__doc__ or "").strip().split("\n")[0]
        parts = [self._function(f"{name}_", self.rule_.equations, doc), self._update()]
        if self.rule_.look is not None:
            parts += [self._function(f"{name}_look_", {"w": self.rule_.look}, "Where the gradient is taken."), self._looks()]
        if self.direct is not None:
            parts.append(self._step(self.direct))
        return "\n".join(parts)

    def _function(self, name: str, equations: dict[str, Expr], doc: str) -> str:
        """Equations for each element of w, its gradient and its slots, as a function with one loop."""
        once, each = self.rule_lines(name, equations)
        given = [f"const real *restrict {k}" if k not in equations else f"real *restrict {k}" for k in self.arguments]
        head = f"static void {name}("
        return "\n".join([
            f"{head}int64_t from, int64_t to, {', '.join(given)},", f"{' ' * len(head)}double lr, double step)",
            f"{{   /* {doc} */",
            *(f"{PAD}{line}" for line in once), *unused(("lr", "step", "g"), [*once, *each]),
            f"{PAD}SIMD for (int64_t i = from; i < to; i++) {{",
            *(f"{PAD * 2}{line}" for line in each), f"{PAD}}}", "}"]) + "\n"

    def rule_lines(self, name: str, equations: dict[str, Expr]) -> tuple[list[str], list[str]]:
        """What equations compute once, before a loop over the elements of w, its gradient and its slots, and for each of them."""
        exprs = simplify_exprs(list(equations.values()))
        system = System(name, equations=dict(zip(equations, exprs, strict=True)))
        lay = layout(schedule(system, dict(system.equations)))
        names = {a: e.name for e, a in lay.arrays.items() if a.role in ("param", "input")}  # type: ignore[attr-defined]
        targets = {lay.arrays[e].home: k for k, e in system.equations.items()}
        namer, once, each = Namer((*self.arguments, "lr", "step", "from", "to", "i")), list[str](), list[str]()

        def before(text: str) -> str:
            once.append(f"const double {(word := namer.claim('c'))} = {text};")
            return word

        for s in flat(list(lower(lay))):
            if not isinstance(s, Kernel):
                continue
            key, wide = targets.get(s.out.array.home), not s.out.dims
            loads = {v: _read(names[v.array.home], v, wide) for v in reads(s)}
            body = s.body if wide else self._alike(s.body, loads, names, before)
            text, word = scalar(body, loads), namer.claim(f"{key}_new" if key else "c" if wide else "t")
            text = _wide(text) if wide else text
            (once if wide else each).append(f"const {'double' if wide else 'real'} {word} = {text};")
            names[s.out.array.home] = word
        return once, each + [f"{k}[i] = {names[lay.arrays[e].home]};" for k, e in system.equations.items()]

    def _alike(self, body: Scalar, loads: dict[View, str], names: dict[Array, str], add: Callable[[str], str]) -> Scalar:
        """The body of a loop; what is the same for every element stands before it, in double precision. The compiler leaves it
        inside: a call may set errno."""
        if not isinstance(body, Call):
            return body
        views = [x.view for x in leaves(body) if isinstance(x, Load)]
        if views and not any(v.array.dims for v in views):
            v = View(Array(()), (), ())
            loads[v] = f"(real){add(_wide(scalar(body, {x: names[x.array.home] for x in views})))}"
            return Load(v)
        return replace(body, args=tuple(self._alike(a, loads, names, add) for a in body.args))

    def _arrays(self) -> Iterator[tuple[str, str, int, str]]:
        """Of every trained parameter: its name, its length, its place among the arrays, and what the rule takes."""
        at = 0
        for k in self.trained:
            n = 2 + len(self.rule_.slots)
            yield k, self._length(k), at, ", ".join(f"array[{at + j}]" for j in range(n))
            at += n

    def _length(self, key: str) -> str:
        node = self.system.params[key].node if key in self.system.params else self.system.stats[key].node
        return length(product(node.shape))

    def _all(self, n: str) -> str:
        """From which to which of n numbers: all, or a thread's share."""
        return f"FROM({n}), TO({n})" if self.parallel else f"0, {n}"

    def _part(self, name: str, given: str, body: list[str]) -> list[str]:
        """A part of the step, of which threads have their shares, under a name that a caller may call."""
        if not self.parallel:
            return [f"void {name}({given})", "{", *body, "}"]
        numbers = "const int64_t *number, " if "number" not in given else ""
        head = f"static void {name}_share(team *us, int me, {given.replace('const double', numbers + 'const double')})"
        used = [f"{PAD}(void)us, (void)me, (void)number;"]
        pass_on = "array, number, option" if "number" in given else "array, 0, option"
        return [head, "{", *used, *body, "}", "", f"void {name}({given})", "{",
                f"{PAD}in_parallel({name}_share, {self._cost()}, {pass_on});", "}"]

    def _cost(self) -> str:
        """Operations of an update, roughly."""
        return " + ".join(f"10.0*({n})" for _, n, _, _ in self._arrays()) or "0"

    def _update(self) -> str:
        """All that follows the gradient."""
        name, rates = self.training.optimiser, dict(self.training.rates)
        lines = [f"{PAD}const double lr = option[0], step = option[1];", f"{PAD}(void)lr, (void)step;"]
        lines += [PAD + line for line in (*self._averages(), *self._clipped())]
        for k, n, _, given in self._arrays():
            rate = f"lr * {rates[k]!r}" if k in rates else "lr"
            lines.append(f"{PAD}{name}_({self._all(n)}, {given}, {rate}, step);".ljust(92) + f"/* {k} */")
        body = [*lines, *(PAD + line for line in self._constrained())]
        return "\n".join(self._part("update", "void *const *array, const double *option", body)) + "\n"

    def _averages(self) -> Iterator[str]:
        """Statistics, whose arrays follow the trained parameters'."""
        at = len(self.trained) * (2 + len(self.rule_.slots))
        for k, s in self.system.stats.items():
            n = self._all(self._length(k))
            call = f"average_({n}, array[{at}], array[{at + 1}], step);" if s.average else \
                f"assign_({n}, array[{at}], array[{at + 1}]);"
            yield call.ljust(68) + f"/* {k} */"
            at += 2

    def _clipped(self) -> Iterator[str]:
        t = self.training
        if t.clip_value is not None:
            yield from (f"clip_({self._all(n)}, array[{at + 1}], {t.clip_value!r});" for _, n, at, _ in self._arrays())
        if t.clip_norm is not None and self.trained:
            yield from self._total()
            yield f"if (total > {t.clip_norm!r}) {{"
            by = f"{t.clip_norm!r} / total"
            yield from (f"{PAD}scale_({self._all(n)}, array[{at + 1}], {by});" for _, n, at, _ in self._arrays())
            yield "}"

    def _total(self) -> Iterator[str]:
        """The norm of the gradient; threads add up the same pieces, however many they are."""
        if self.parallel:
            yield from (["meet();"] if self.training.clip_value is not None else [])
            yield "for (int64_t k = FROM(PIECES); k < TO(PIECES); k++) {"
            yield f"{PAD}us->sum[k] = 0;"
            yield from (f"{PAD}us->sum[k] += squares_(share_({n}, k, PIECES), share_({n}, k + 1, PIECES), array[{at + 1}]);"
                        for _, n, at, _ in self._arrays())
            yield from ("}", "meet();", "const double total = sqrt(added_(us));")
        else:
            yield "double total = 0;"
            yield from (f"total += squares_(0, {n}, array[{at + 1}]);" for _, n, at, _ in self._arrays())
            yield "total = sqrt(total);"

    def _constrained(self) -> Iterator[str]:
        t, places = self.training, {k: (n, f"array[{at}]") for k, n, at, _ in self._arrays()}
        for kind, amount, names in t.decay:
            for k in (k for k in names if k in places):
                n, w = self._all(places[k][0]), places[k][1]
                yield f"scale_({n}, {w}, {1 - amount!r});" if kind == "l2" else f"decay_l1_({n}, {w}, {amount!r});"
        if self.parallel and (t.max_norm is not None or t.l1_ball is not None):
            yield "meet();"
        for k in (k for k in (t.max_norm[1] if t.max_norm is not None else ()) if k in places):
            shape = self.system.params[k].node.shape
            rows = length(shape[0])
            share = f"FROM({rows}), TO({rows})" if self.parallel else f"0, {rows}"
            yield f"limit_norms_({share}, {length(product(shape[1:]))}, {places[k][1]}, {t.max_norm[0]!r});"  # type: ignore[index]
        if self.parallel and t.max_norm is not None and t.l1_ball is not None:
            yield "meet();"
        for k in (k for k in (t.l1_ball[1] if t.l1_ball is not None else ()) if k in places):
            yield f"{'ALONE ' if self.parallel else ''}project_l1_({places[k][0]}, {places[k][1]}, {t.l1_ball[0]!r});"  # type: ignore[index]

    def _looks(self) -> str:
        lines = [f"{PAD}{self.training.optimiser}_look_({self._all(n)}, {given}, 0, 0);" for _, n, _, given in self._arrays()]
        return "\n".join(self._part("look", "void *const *array, const double *option", [f"{PAD}(void)option;", *lines])) + "\n"

    def _step(self, printer: NativeFunction) -> str:
        """The whole step; 1, and nothing done, where an index is out of range."""
        arrays, lengths = printer.arrays(), printer.lengths()
        count = len(arrays) + len(printer.returned)
        checks = [f"{PAD}if ({check}) return 1;" for k, a in enumerate(arrays)
                  if (check := self._strange(printer.values.get(a), a, f"array[{k}]"))]
        numbers = [f"{size_name(n)} = number[{k}]" for k, n in enumerate(lengths)] if checks else []
        numbers = [x for x in numbers if re.search(rf"\b{x.split(' ')[0]}\b", "".join(checks))]
        return "\n".join([*self._work(count), f"int train_step({GIVEN})", "{",
                          *([f"{PAD}const int64_t {', '.join(numbers)};"] if numbers else []), *checks,
                          *self._calls(printer, count), f"{PAD}return 0;", "}"]) + "\n"

    def _calls(self, printer: NativeFunction, count: int) -> list[str]:
        """The parts of a step, one after the other; where threads share the work, the call of it."""
        if self.parallel:
            return [f"{PAD}in_parallel(train_step_share, {self._cost()} + {printer.name}_cost(number), array, number, option);"]
        look = [f"{PAD}look(array + {count}, option);"] if self.rule_.look is not None else []
        return [*look, f"{PAD}gradients(array, number);", f"{PAD}update(array + {count}, option);"]

    def _work(self, count: int) -> list[str]:
        """What each thread does of a step."""
        if not self.parallel:
            return []
        more = f"us, me, array + {count}, number, option"
        look = [f"look_share({more});", "meet();"] if self.rule_.look is not None else []
        lines = [*look, "gradients_share(us, me, array, number, option);", "meet();", f"update_share({more});"]
        return [f"static void train_step_share(team *us, int me, {GIVEN})", "{", *(PAD + x for x in lines), "}", ""]

    def _strange(self, e: Expr | None, a: Array, place: str) -> str:
        """Whether an input holds what it must not; nothing where it may hold anything."""
        n = length(product(a.dims))
        limit = self._limit(e)
        if limit:
            return f"outside_({n}, {place}, {limit})"
        model = self.compiled.model
        unit = None
        if isinstance(e, Input) and model is not None and model.energy is not None:
            unit = next((u for u in model.energy.visible if u.name == e.name), None)
        if unit is None or unit.kind == "gaussian":
            return ""
        if model is not None and model.domains.get(unit.name) == "unit":
            return f"no_mean_({n}, {place})"
        if unit.kind == "categorical":
            return f"no_choice_({length(product(a.dims[:-1]))}, {length(a.dims[-1])}, {place})"
        return f"no_value_({n}, {place}, {-1 if unit.kind == 'spin' else 0})"

    def _limit(self, e: Expr | None) -> str:
        """How many values an input of indices may have."""
        if not isinstance(e, Input):
            return ""
        if e.name.startswith("lengths_") and e is lengths_input(e.name.removeprefix("lengths_")):
            return f"{axis_length(e.name.removeprefix('lengths_'))} + 1"
        return length(e.type.n) if e.type.kind == "class" and e.type.n is not None else ""


def unused(names: Iterable[str], lines: list[str]) -> list[str]:
    """The statement that tells the compiler which of these names no line has."""
    left = [f"(void){n}" for n in names if not re.search(rf"\b{n}\b", "\n".join(lines))]
    return [f"{PAD}{', '.join(left)};"] if left else []


def _read(name: str, v: View, wide: bool) -> str:
    """An element of an array; a number, which is a double, as it is or in the arrays' type."""
    if v.array.dims:
        return name if name.endswith("_new") or name[:1] == "t" else f"{name}[i]"
    return name if wide else f"(real){name}"


def _wide(text: str) -> str:
    """A number's formula in double precision: C's own functions, no casts."""
    own = {"abs": "fabs", "round": "rint", "arctan": "atan"}
    return re.sub(r"\b(\w+)_\(", lambda m: f"{own.get(m[1], m[1])}(", text.replace("(real)", ""))
