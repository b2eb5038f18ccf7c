"""The training step on a GPU: what follows the gradient is a few kernels, each over all parameters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from ...compiler.graph import BATCH
from ...compiler.graph import length as axis_length
from ...compiler.optimisers import OPTIMISERS
from ...compiler.passes.naming import quoted
from ...compiler.sizes import Size, product
from ...compiler.system import lengths_input
from ..cpu.carrying import CHUNK
from ..cpu.functions import wrapped
from ..native.kernels import length
from ..native.updates import NativeUpdates, unused
from .geometry import BLOCK
from .kernels import LEAVES, NOTED, Kernels, parameters

PAD = "    "
NAN = """

    Of a batch on the device that is wrong the loss is NaN, and nothing is changed until to_host(loss) has said what is wrong."""
NEW = "\n    "
MOST = 400                                                       # pointers that a kernel may take
PARTS = 64                                                       # blocks that add up the squares of one gradient
ELEMENTS = "for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)"


class CudaUpdates(NativeUpdates):
    """Prints `init_state`, `train_step`, and the kernels of the update."""

    kernels: Kernels

    def init_state(self) -> str:
        """`init_state`, on the device."""
        text = super().init_state()
        for old, new in (("np.zeros_like(params[k])", "cp.zeros_like(params[k])"), ("step=np.array(0)", "step=to_device(0)"),
                         ("seed=np.array(seed)", "seed=seeds(seed)[0].reshape(())"), ("lr=np.array(", "lr=to_device("),
                         (" = np.zeros((", " = cp.zeros((")):
            text = text.replace(old, new)
        self.uses |= {"seeds"}
        return text

    def train_step(self, args: list[str], seeded: bool) -> str:
        """`train_step`: the launches of `_launched`, captured once as a graph."""
        cut = self.compiled.truncation is not None
        step = "stepped_on" if cut else "stepped"
        self.uses |= {"update_arrays", "Captured", step}
        args = [k for k in args if k not in self.compiled.chain]
        free = [k for k in args if k not in self.system.inputs]  # lengths that no input tells
        self.uses |= {"whole_length" for _ in free}
        call = ", ".join(["params", "state", *args])
        values = ", ".join(f"whole_length({quoted(k)}, {k})" if k in free else k for k in args) + ("," if len(args) == 1 else "")
        return "\n".join([
            f"def train_step({call}, *, {'carry=None, ' * cut}workspace=None):",
            f'    """One step of {self.training.optimiser}, in place; the loss before it, on the device.{NAN * self.checked}'
            + f'{CHUNK * cut or NEW * self.checked}"""',
            "    workspace = Workspace.of(workspace, state)",
            "    given = (                                                  # of each input: name, axes, type, what looks at it",
            *(f"        {self._given(k, args)}," for k in args), "    )",
            f"    return {step}(_launched, params, state, ({values}), given, workspace{', carry' * cut})"]) + "\n\n\n" \
            + self._step_text(args, seeded)

    def _given(self, key: str, args: Sequence[str]) -> str:
        """What a step must know of an input to put it where the graph reads it."""
        if key not in self.system.inputs:
            return f"({quoted(key)}, 0, int, None)"
        e, (check, allowed) = self.system.inputs[key], self._allowed(key, args)
        kind = "np.int64" if check == "RangeCheck" else {"bool": "bool"}.get(e.type.kind, "np.float32")
        self.uses |= {check} if check else set()
        return f"({quoted(key)}, {len(e.axes)}, {kind}, {f'{check}({allowed})' if check else None})"

    def _allowed(self, key: str, args: Sequence[str]) -> tuple[str, str]:
        """What looks through an input, if anything, and what for: how many classes there are, or the kind of units."""
        e, model = self.system.inputs[key], self.compiled.model
        for u in model.energy.visible if model is not None and model.energy is not None else ():
            if model is not None and u.name == key and u.kind != "gaussian":
                return "UnitCheck", quoted("mean" if model.domains.get(key) == "unit" else u.kind)
        if e.type.n is None:
            return "", ""
        free = {n: self._shape_of(n, args) for n in e.type.n.symbols if n not in self.system.sizes}
        return "RangeCheck", e.type.n.format(free)

    def _shape_of(self, length_: str, args: Sequence[str]) -> str:
        """A length, read off an input of the step that has it."""
        for k in (k for k in args if k in self.system.inputs):
            axes = [str(axis_length(x)) for x in sorted(self.system.inputs[k].axes, key=lambda x: x != BATCH)]
            if length_ in axes:
                return f"np.shape({k})[{axes.index(length_)}]"
        return length_

    def _step_text(self, args: list[str], seeded: bool) -> str:
        """`_launched`: launches one after the other."""
        stats, carry = [*self.system.stats], ["carry"] if self.compiled.truncation is not None else []
        result = ", ".join(["loss", *carry])
        lines = [f"def _launched({', '.join(['params', 'state', *args, *carry, 'workspace'])}):",
                 '    """All that a step launches; its loss."""',
                 f"    grads = workspace.gradients({'{**params, **state}' if self.compiled.chain else 'params'}, "
                 f"{self._every()})"]
        groups = [*self._groups()]
        if self.rule_.look is not None:
            lines += [*self._looked_through(args), *self._look_text(groups)]
        seed = ['(state["seed"], state["step"])'] if seeded else []
        chain = [f"state[{quoted(k)}]" for k in self.compiled.chain]
        lines.append(f"    {result} = _gradients({', '.join(['params', 'grads', *args, *chain, *carry, 'workspace', *seed])})")
        lines += self._chain_text()
        self._kernels(groups)
        lines += [*self._statistics_text(stats), *self._clip_text(groups)]
        for k, group in enumerate(groups):
            lr, step = ('state["lr"], ' if "lr" in self.takes else ""), ('state["step"], ' if "step" in self.takes else "")
            lines.append(f'    launch("{_name("update", k)}", ({self._blocks(self._sizes_of(group))}, {len(group)}), {BLOCK}, '
                         f'*update_arrays(params, grads, state, {self._names(group)}, {self._slots()}), '
                         + f"{lr}{step or self._counter('update', k)}".removesuffix(", ") + ")")
        lines += [f"    {line}" for line in self._constraint_text()]
        if self.advances == "advance":
            self.kernels.plain["advance"] = None
            lines.append('    launch("advance", 1, 1, state["step"])')
        lines.append(f"    return {result}")
        return "\n".join(y for x in lines for y in self._told(x)) + "\n"

    @property
    def checked(self) -> bool:
        """Whether kernels look through inputs: what a step changes is changed where nothing was noted of them."""
        return bool({"check_classes", "check_units"} & {*self.kernels.plain})

    def _told(self, line: str) -> Iterator[str]:
        """A line of a step; a launch takes what was noted of inputs."""
        launched = self.checked and line.startswith('    launch("')
        yield from wrapped(f"{line[:-1]}, CHECKS.place())", "") if launched else [line]

    def _looked_through(self, args: Sequence[str]) -> Iterator[str]:
        """Inputs are looked through before parameters go where the gradient is taken."""
        for k in (k for k in args if k in self.system.inputs):
            check, allowed = self._allowed(k, args)
            if check:
                lengths = self.system.inputs[k] is lengths_input(k.removeprefix("lengths_"))
                whole = ("lengths_input", f"{allowed} - 1") if lengths else ("class_input", allowed)
                helper, more = whole if check == "RangeCheck" else ("units_input", f"np.float32, {allowed}")
                self.uses.add(helper)
                yield f"    {k} = {helper}({quoted(k)}, {k}, np.shape({k}), {more})"

    def _chain_text(self) -> Iterator[str]:
        """The states of chains, which the next step goes on from."""
        for k in self.compiled.chain:
            self.kernels.plain["hand_on"] = None
            chain = f"state[{quoted(k)}]"
            yield f'    launch("hand_on", blocks({chain}.size, {BLOCK}), {BLOCK}, {chain}, {chain}.size, grads[{quoted(k)}])'

    # ------------------------------------------------------------ pieces of the Python text

    def _groups(self) -> Iterator[list[str]]:
        """The trained parameters, as many at a time as a kernel takes."""
        yield from _shared(self.trained, MOST // (2 + len(self.rule_.slots)))

    def _names(self, group: Sequence[str]) -> str:
        return "TRAINED" if len(group) == len(self.trained) else f"TRAINED[{self.trained.index(group[0])}:][:{len(group)}]"

    def _slots(self) -> str:
        slots = self.rule_.slots
        return f"({', '.join(map(quoted, slots))}{',' if len(slots) == 1 else ''})"

    def _elements(self, key: str) -> Size:
        node = self.system.params[key].node if key in self.system.params else self.system.stats[key].node
        return product(node.shape)

    def _sizes_of(self, group: Sequence[str]) -> list[Size]:
        return [self._elements(k) for k in group]

    def _blocks(self, sizes: list[Size]) -> int:
        """Blocks for the largest of these arrays; of very large ones a thread does several elements."""
        return min(1024, max(-(-n.evaluate(self.system.sizes) // BLOCK) for n in sizes))

    def _look_text(self, groups: list[list[str]]) -> Iterator[str]:
        for k, group in enumerate(groups):
            yield (f'    launch("{_name("look", k)}", ({self._blocks(self._sizes_of(group))}, {len(group)}), {BLOCK}, '
                   f'*update_arrays(params, grads, state, {self._names(group)}, {self._slots()}))')

    def _counter(self, word: str, at: int) -> str:
        """The number of the step, as an argument of the launch that adds one to it."""
        return 'state["step"], ' if word == self.advances and at == 0 else ""

    def _statistics_text(self, stats: list[str]) -> Iterator[str]:
        for k, group in enumerate(_shared(stats, MOST // 2)):
            names = "STATS" if len(group) == len(stats) else f"STATS[{stats.index(group[0])}:][:{len(group)}]"
            step = "state[\"step\"]" if self._counts(group) else self._counter("statistics", k).removesuffix(", ")
            yield (f'    launch("{_name("statistics", k)}", ({self._blocks(self._sizes_of(group))}, {len(group)}), {BLOCK}, '
                   f"*(d[k] for k in {names} for d in (params, grads)){step and ', ' + step})")

    def _counts(self, group: Sequence[str]) -> bool:
        """Whether one of these statistics is the mean over all steps."""
        return any(self.system.stats[k].average for k in group)

    def _clip_text(self, groups: list[list[str]]) -> Iterator[str]:
        t = self.training
        if t.clip_norm is not None and self.trained:
            yield f'    parts, = workspace.reserve("squares", [({PARTS * len(self.trained)}, np.float32)])'
            for k, group in enumerate(groups):
                yield (f'    launch("{_name("squares", k)}", ({PARTS}, {len(group)}), {BLOCK}, *(grads[k] for k in '
                       f'{self._names(group)}), {self._counter("squares", k)}parts, {PARTS * self.trained.index(group[0])})')
        if t.clip_norm is not None or t.clip_value is not None:
            for k, group in enumerate(groups):
                more = ", parts" if t.clip_norm is not None else f", {self._counter('clip', k)}".removesuffix(", ")
                yield (f'    launch("{_name("clip", k)}", ({self._blocks(self._sizes_of(group))}, {len(group)}), {BLOCK}, '
                       f'*(grads[k] for k in {self._names(group)}){more})')

    def _constraint_text(self) -> Iterator[str]:
        t = self.training
        for kind, amount, names in t.decay:
            for k in (k for k in names if k in self.trained):
                how = f"np.float32({1 - amount!r})" if kind == "l2" else f"np.float32({amount!r})"
                yield (f'launch("decay_{kind}", {self._blocks([self._elements(k)])}, {BLOCK}, params[{quoted(k)}], '
                       f"{self._elements(k).format()}, {how})")
                self.kernels.plain[f"decay_{kind}"] = None
        for helper, bound in (("limit_norms", t.max_norm), ("project_l1", t.l1_ball)):
            for k in (k for k in (bound[1] if bound is not None else ()) if k in self.trained):
                shape = self.system.params[k].node.shape
                rows = shape[0].format() if helper == "limit_norms" else "1"
                n = product(shape[1:]).format() if helper == "limit_norms" else self._elements(k).format()
                assert bound is not None
                yield f'launch("{helper}", {rows}, {BLOCK}, params[{quoted(k)}], {n}, np.float32({bound[0]!r}))'
                self.kernels.plain[helper] = None

    # ------------------------------------------------------------ CUDA C++

    def _kernels(self, groups: list[list[str]]) -> None:
        name, t = self.training.optimiser, self.training
        doc = (OPTIMISERS[name][1].__doc__ or "").strip().split("\n")[0]
        text, self.takes = self._device(f"{name}_", dict(self.rule_.equations), doc)
        self.advances = self._advancing()
        if self.trained:
            self.kernels.devices.append(text)
            if self.rule_.look is not None:
                look, _ = self._device(f"{name}_look_", {"w": self.rule_.look}, "Where the gradient is taken.")
                self.kernels.devices.append(look)
        for at, group in enumerate(groups):
            if self.rule_.look is not None:
                cases = [(k, f"{name}_look_({self._n(k)}, {self._operands(j)})") for j, k in enumerate(group)]
                self.kernels.raw(_name("look", at), self._over(group, cases, []))
        for at, stats in enumerate(_shared([*self.system.stats], MOST // 2)):
            self._statistics(at, stats)
        for at, group in enumerate(groups):
            if t.clip_norm is not None:
                self._norm(at, group)
            elif t.clip_value is not None:
                self._clip(at, group)
        for at, group in enumerate(groups):
            self._ruled(at, group)

    def _advancing(self) -> str:
        """The kernel that adds one to the number of the step: the first one after the gradient that does not read it, for its
        blocks run in any order; else one of its own.
        """
        t, averaged = self.training, self._counts([*self.system.stats])
        could = {"statistics": bool(self.system.stats) and not averaged, "squares": t.clip_norm is not None,
                 "clip": t.clip_value is not None and t.clip_norm is None, "update": "step" not in self.takes}
        return next((k for k, can in could.items() if can and (self.trained or k == "statistics")), "advance")

    def _ruled(self, at: int, group: list[str]) -> None:
        """The rule, over a group of parameters."""
        rates, done = dict(self.training.rates), self.advances not in ("update", "advance")
        more = [f"const {kind}" for kind, k in (("real *lr", "lr"), ("int64_t *step", "step")) if k in self.takes]
        cases = []
        for j, k in enumerate(group):
            values = {"lr": f"lr[0]{f' * {rates[k]!r}' if k in rates else ''}", "step": "(double)step[0]" + " + 1" * (not done)}
            call = [self._n(k), self._operands(j), *(values[x] for x in self.takes)]
            cases.append((k, f"{self.training.optimiser}_({', '.join(call)})"))
        self.kernels.raw(_name("update", at), self._over(group, cases, more, self._counter("update", at)))

    def _statistics(self, at: int, group: list[str]) -> None:
        """The running statistics of normalisations: averages over all steps, or what the gradient's kernels made of them."""
        given = [x for j in range(len(group)) for x in (f"real *w{j}", f"const real *g{j}")]
        cases = [(k, f"average_({self._n(k)}, w{j}, g{j}, (real)(step[0] + 1))" if self.system.stats[k].average
                  else f"replace_({self._n(k)}, w{j}, g{j})") for j, k in enumerate(group)]
        more = ["const int64_t *step"] if self._counts(group) else []
        self.kernels.raw(_name("statistics", at), self._switch([*given, *more], cases, self._counter("statistics", at)))

    def _n(self, key: str) -> str:
        return length(self._elements(key))

    def _operands(self, j: int) -> str:
        return ", ".join(f"{k}{j}" for k in self.arguments)

    def _over(self, group: list[str], cases: list[tuple[str, str]], more: list[str], counter: str = "") -> str:
        """A kernel with one row of blocks for each parameter."""
        given = [f"{'const ' if k == 'g' else ''}real *{k}{j}" for j in range(len(group)) for k in self.arguments]
        return self._switch(given + more, cases, counter)

    def _switch(self, given: list[str], cases: list[tuple[str, str]], counter: str = "") -> str:
        """A kernel with one row of blocks for each case; with `counter`, it also adds one to the number of the step."""
        calls = [f"{PAD}case {j}: {call}; break;" for j, (_, call) in enumerate(cases)]
        width = max(64, *(len(x) + 1 for x in calls))
        lines = [f"{x:<{width}} /* {k} */" for x, (k, _) in zip(calls, cases, strict=True)]
        first, step = "blockIdx.x + blockIdx.y + threadIdx.x == 0", "int64_t *step"
        given = [*given, *[step] * (bool(counter) and step not in given), *[NOTED] * self.checked]
        lines += [f"{PAD}}}", *[f"{PAD}if ({first}) step[0] += 1;".ljust(64) + " /* nothing here reads it */"] * bool(counter)]
        return f"({', '.join(given)})\n{{\n{LEAVES * self.checked}{PAD}switch (blockIdx.y) {{\n" + "\n".join(lines) + "\n}\n"

    def _norm(self, at: int, group: list[str]) -> None:
        """The global norm: squares added up by blocks, then by every block that scales."""
        given = [f"real *g{j}" for j in range(len(group))]
        cases = [(k, f"squares_({self._n(k)}, g{j}, parts + first + {PARTS * j})") for j, k in enumerate(group)]
        counter = self._counter("squares", at)
        more = [*["int64_t *step"] * bool(counter), "real *parts", "int first"]
        self.kernels.raw(_name("squares", at), self._switch([f"const {g}" for g in given] + more, cases, counter))
        bound, count = self.training.clip_norm, PARTS * len(self.trained)
        cases = [(k, f"scale_to_({self._n(k)}, g{j}, parts, {count}, (real){bound!r})") for j, k in enumerate(group)]
        self.kernels.raw(_name("clip", at), self._switch([*given, "const real *parts"], cases))

    def _clip(self, at: int, group: list[str]) -> None:
        cases = [(k, f"clip_({self._n(k)}, g{j}, (real){self.training.clip_value!r})") for j, k in enumerate(group)]
        given = [f"real *g{j}" for j in range(len(group))]
        self.kernels.raw(_name("clip", at), self._switch(given, cases, self._counter("clip", at)))

    def _device(self, name: str, equations: dict, doc: str) -> tuple[str, list[str]]:  # type: ignore[type-arg]
        """The rule for each element, in a loop that the threads share; and which of lr and step it takes."""
        once, each = self.rule_lines(name, equations)
        takes = [k for k in ("lr", "step") if re.search(rf"\b{k}\b", "\n".join([*once, *each]))]
        given = ["int n", *(f"{'' if k in equations else 'const '}real *__restrict__ {k}" for k in self.arguments),
                 *(f"double {k}" for k in takes)]
        return "\n".join([
            parameters(f"static __device__ void {name}", given), f"{{   /* {doc} */",
            *(f"{PAD}{line}" for line in _by_first(once)), *unused(("g",), [*once, *each]),
            f"{PAD}{ELEMENTS} {{", *(f"{PAD * 2}{line}" for line in each), f"{PAD}}}", "}"]) + "\n", takes


def _shared(names: Sequence[str], at_once: int) -> Iterator[list[str]]:
    """The names, as many at a time as a kernel takes."""
    for k in range(0, len(names), at_once):
        yield [*names[k:k + at_once]]


def _by_first(once: list[str]) -> list[str]:
    """Numbers of a rule that are the same for all elements: where they are powers, in double precision, one thread of a block
    computes them.
    """
    if "pow(" not in "".join(once):
        return once
    words, values = zip(*(line.removeprefix("const double ").split(" = ", 1) for line in once), strict=True)
    return [f"__shared__ double {', '.join(words)};", "if ((int)(blockIdx.x * blockDim.x) >= n) return;",
            "if (threadIdx.x == 0) {", *(f"{PAD}{word} = {value}" for word, value in zip(words, values, strict=True)), "}",
            "__syncthreads();"]


def _name(word: str, at: int) -> str:
    return f"{word}_{at + 1}" if at else word


__all__ = ["CudaUpdates"]
