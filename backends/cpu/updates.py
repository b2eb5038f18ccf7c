"""The training step: gradient, clipping, the optimiser's equations, constraints; all in place."""

from __future__ import annotations

import re

from ...compiler.optimisers import OPTIMISERS, Rule, rule
from ...compiler.passes.layout import layout
from ...compiler.passes.lower import lower
from ...compiler.passes.memory import lives, numbered
from ...compiler.passes.naming import Namer, quoted, quoted_tuple
from ...compiler.passes.schedule import schedule
from ...compiler.passes.simplify import simplify_exprs
from ...compiler.pipeline import Compiled
from ...compiler.program import Array, Block, Copy, Function, Kernel, Stmt, view, writes
from ...compiler.system import System, Training
from .carrying import CHUNK
from .functions import Text
from .head import tuple_lines
from .kernels import Lowered
from .statements import Statements

LOCALS = ("grads", "step", "lr", "k", "w", "u")          # variables of a step before it reads the inputs
RULE_ARGUMENTS = ("w", "g")


class Updates:
    """Prints `init_state`, `train_step` and the optimiser's rule."""

    def __init__(self, compiled: Compiled, uses: set[str]) -> None:
        self.compiled, self.uses = compiled, uses
        self.system = compiled.stable
        self.training: Training = self.system.training
        self.rule_: Rule = rule(self.training.optimiser, dict(self.training.options))
        self.arguments = (*RULE_ARGUMENTS, *self.rule_.slots)
        self.lines, self.temporaries = self._lowered()
        self.numbers = [k for k in ("lr", "step") if any(re.search(rf"\b{k}\b", line) for line in self.lines)]
        self.uses |= {"blocks"}

    @property
    def trained(self) -> tuple[str, ...]:
        return self.compiled.trained

    def _lowered(self) -> tuple[list[str], int]:
        """The rule's equations as ufunc calls in place on w and the slots; how many scratch arrays they take."""
        names = list(self.rule_.equations)
        exprs = simplify_exprs([self.rule_.equations[k] for k in names])
        system = System("update", equations=dict(zip(names, exprs, strict=True)))
        lay = layout(schedule(system, dict(system.equations)))
        body: list[Stmt] = list(lower(lay))
        own = {e.name: a for e, a in lay.arrays.items() if a.role in ("param", "input")}  # type: ignore[attr-defined]
        function = Function("update", body)
        targets = {lay.arrays[e]: k for k, e in system.equations.items()}
        life = lives(body)
        namer = Namer((*self.arguments, "lr", "step", *map(_scratch, range(4))))
        for k, s, _ in numbered(body):
            out = writes(s)
            if out is None or not isinstance(s, Kernel):
                continue
            key = targets.get(out.array)
            if key is not None and own[key] in life and life[own[key]].last <= k:
                out.array.storage = own[key]                     # nobody reads the old value any more
                out.array.name = key
            elif not out.array.name:
                out.array.name = namer.claim("c" if not out.dims else key + "_new" if key else "t")
        for array, key in targets.items():
            if array.storage is None:
                body.append(Block((), [Copy(view(own[key]), view(array))]))
        return self._text(function, targets)

    def _text(self, function: Function, targets: dict[Array, str]) -> tuple[list[str], int]:
        statements = Statements(self.uses, lambda a: bool(a.dims))
        highest, out = 0, []
        fresh = [s.out.array for _, s, _ in numbered(function.body) if isinstance(s, Kernel) and s.out.dims
                 and s.out.array.storage is None]
        for i, a in enumerate(fresh):
            a.name = _scratch(i)
        for _, s, _ in numbered(function.body):
            if isinstance(s, Kernel) and s.out.dims:
                lowered = Lowered(s, self.uses)
                for i, a in enumerate(lowered.scratch):
                    a.name = _scratch(i + len(fresh))
                highest = max(highest, len(lowered.scratch))
                statements.lowered[id(s)] = lowered
            lines = list(statements.lines(s))
            if isinstance(s, Kernel) and not s.out.dims:         # a NumPy number of float64 would pull float32 arrays along
                lines = [f"{s.out.array.name} = float({line.partition(' = ')[2]})" for line in lines]
            out += [f"    {line}" for line in lines]
        return out, highest + len(fresh)

    # ------------------------------------------------------------ text

    def rule(self) -> str:
        """The optimiser's rule on one piece of one parameter."""
        name = self.training.optimiser
        doc = (OPTIMISERS[name][1].__doc__ or "").strip().split("\n")[0]
        tmp = [_scratch(i) for i in range(self.temporaries)]
        head = f"def _{name}({', '.join([*self.arguments, *self.numbers, *tmp])}):"
        return "\n".join([head, f'    """{doc}"""', *self.lines]) + "\n"

    def init_state(self) -> str:
        """`init_state`: zero slots, step 0, the declared rate."""
        options = {**OPTIMISERS[self.training.optimiser][0], **dict(self.training.options)}
        chain = self.compiled.chain
        lines = [f"def init_state(params, seed=0{f', chains={self._chains()}' if chain else ''}):",
                 '    """What a step keeps: the optimiser\'s slots, the step, the seed, the learning rate; and a workspace."""',
                 *(["    if chains < 1:",
                    '        raise ValueError(f"there is at least 1 persistent chain, not {chains}")'] if chain else []),
                 f'    state = State(step=np.array(0), seed=np.array(seed), lr=np.array({float(options["lr"])!r}))']
        lines += [f'    state.update({{f"{s}.{{k}}": np.zeros_like(params[k]) for k in TRAINED}})' for s in self.rule_.slots]
        for k in chain:
            sizes = "".join(f", {s.format()}" for s in self.system.inputs[k].shape)
            lines.append(f"    state[{quoted(k)}] = np.zeros((chains{sizes}), params[{self._first()}].dtype)".ljust(71)
                         + " # persistent chains")
        trained = "\n".join(tuple_lines("TRAINED", self.trained))
        return trained + "\n\n\n" + "\n".join([*lines, "    return state"]) + "\n"

    def _chains(self) -> int:
        """How many persistent chains there are unless somebody says so."""
        found = self.training.estimator
        return found.chains if found is not None and found.chains is not None else self.training.batch

    def train_step(self, args: list[str], seeded: bool) -> str:
        """`train_step`: one step of the optimiser, in place."""
        cut = self.compiled.truncation is not None
        carry = ["carry"] if cut else []
        t, stats, chain = self.training, self.system.stats, self.compiled.chain
        args = [k for k in args if k not in chain]
        more = [*(["*STATS"] if stats else []), *map(quoted, chain)]
        every = f"(*TRAINED, {', '.join(more)})" if more else "TRAINED"
        out = Text()
        add = out.lines.append
        add(f"def train_step({', '.join(['params', 'state', *args, '*', *(f'{c}=None' for c in carry), 'workspace=None'])}):")
        add(f'    """One step of {t.optimiser}, in place; the loss before it.{CHUNK if cut else ""}"""')
        namer = Namer((*LOCALS, *args))
        held = [namer.claim(k) if k in LOCALS else k for k in args]
        for h, k in zip(held, args, strict=True):
            if h != k:
                add(f"    {h} = {k}")
        add('    workspace = workspace or getattr(state, "workspace", None) or Workspace()')
        add(f"    grads = workspace.gradients({'{**params, **state}' if chain else 'params'}, {every})")
        add('    step, lr = int(state["step"]), float(state["lr"])')
        if self.rule_.look is not None:
            self._look(add)
        seed = ['(int(state["seed"]), step)'] if seeded else []
        result = ", ".join(["loss", *carry])
        held += [f"state[{quoted(k)}]" for k in chain]
        add(f"    {result} = _gradients({', '.join(['params', 'grads', *held, *carry, 'workspace', *seed])})")
        for k in chain:
            add(f"    state[{quoted(k)}][...] = grads[{quoted(k)}]")
        self._store(add)
        self._clipping(add, bool(more))
        self._loop(add)
        self._constraints(add)
        add('    state["step"][...] = step + 1')
        add(f"    return {result}")
        return "\n".join(out.lines) + "\n"

    def _look(self, add) -> None:  # type: ignore[no-untyped-def]
        mu = dict(OPTIMISERS[self.training.optimiser][0], **dict(self.training.options))["momentum"]
        self._reserve(add)
        add("    for k in TRAINED:                                           # the gradient is taken further on")
        add('        for w, u in blocks(params[k], state[f"u.{k}"]):')
        add(f"            w += np.multiply({mu!r}, u, out={_scratch(0)}[:w.size])")

    def _store(self, add) -> None:  # type: ignore[no-untyped-def]
        """The batch's statistics: into their running means, or averaged over all batches."""
        stats = self.system.stats
        for average, update in ((False, "[...] = grads[k]"), (True, " += (grads[k] - params[k]) / (step + 1)")):
            written = [k for k, s in stats.items() if bool(s.average) == average]
            if written:
                add(f"    for k in {'STATS' if len(written) == len(stats) else quoted_tuple(written)}:")
                add(f"        params[k]{update}")

    def _clipping(self, add, stats: bool) -> None:  # type: ignore[no-untyped-def]
        t = self.training
        trained = "{k: grads[k] for k in TRAINED}" if stats else "grads"
        if t.clip_value is not None:
            self.uses.add("clip_by_value")
            add(f"    clip_by_value({trained}, {t.clip_value!r})")
        if t.clip_norm is not None:
            self.uses.add("clip_by_norm")
            add(f"    clip_by_norm({trained}, {t.clip_norm!r})")

    def _reserve(self, add) -> None:  # type: ignore[no-untyped-def]
        """The rule's scratch arrays, a piece long."""
        tmp = [_scratch(i) for i in range(self.temporaries)]
        add(f"    {', '.join(tmp)}{',' if len(tmp) == 1 else ''} = workspace.reserve(\"update\", "
            f"{f'{len(tmp)} * ' if len(tmp) > 1 else ''}[(32768, params[TRAINED[0]].dtype)])")

    def _first(self) -> str:
        """A parameter, whose type is all the others'."""
        return "TRAINED[0]" if self.trained else quoted(next(iter((*self.system.params, *self.system.stats))))

    def _loop(self, add) -> None:  # type: ignore[no-untyped-def]
        """The rule over every parameter, piece by piece."""
        if not self.trained:
            return
        rates = dict(self.training.rates)
        slots = "".join(f', state[f"{s}.{{k}}"]' for s in self.rule_.slots)
        tmp = [_scratch(i) for i in range(self.temporaries)]
        if tmp and self.rule_.look is None:
            self._reserve(add)
        add("    for k in TRAINED:")
        if rates:
            table = ", ".join(f"{quoted(k)}: {rates[k]!r}" for k in self.trained if k in rates)
            add(f"        rate = lr * {{{table}}}.get(k, 1.0)")
        lr = "rate" if rates else "lr"
        names = ", ".join(["w", "g", *self.rule_.slots])
        add(f"        for {names} in blocks(params[k], grads[k]{slots}):")
        cut = "".join(f", {x}[:w.size]" for x in tmp)
        given = "".join(f", {dict(lr=lr, step='step + 1')[k]}" for k in self.numbers)
        add(f"            _{self.training.optimiser}({names}{given}{cut})")

    def _constraints(self, add) -> None:  # type: ignore[no-untyped-def]
        t = self.training
        for kind, amount, names in t.decay:
            add(f"    for k in {quoted_tuple(k for k in names if k in self.trained)}:")
            if kind == "l2":
                add(f"        params[k] *= {1 - amount!r}")
            else:
                self.uses.add("decay_l1")
                add(f"        decay_l1(params[k], {amount!r})")
        for helper, bound in (("limit_norms", t.max_norm), ("project_l1", t.l1_ball)):
            if bound is not None:
                self.uses.add(helper)
                add(f"    for k in {quoted_tuple(k for k in bound[1] if k in self.trained)}:")
                add(f"        {helper}(params[k], {bound[0]!r})")


def _scratch(i: int) -> str:
    """The name of a scratch array of the rule."""
    return f"tmp{i + 1}" if i else "tmp"
