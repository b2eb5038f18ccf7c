"""A generated module: its head, the public functions, the functions that do the work, and the helpers that they use."""

from __future__ import annotations

import ast
import builtins
import inspect
import keyword
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from types import ModuleType

from ...compiler.graph import BATCH, Expr, Extent, GraphError, Input, postorder
from ...compiler.node import base, length
from ...compiler.options import Checkpoint, Options
from ...compiler.pipeline import Compiled
from ...compiler.program import Draw, Function, flat
from . import carrying, random_runtime, runtime, units_runtime, window_runtime
from .checkpointing import Checkpointing
from .entry import Entry
from .functions import FunctionPrinter
from .generation import GenerationPrinter
from .guards import quiet
from .head import constants, header, init_text, prose
from .selfcheck import CHECK, selfcheck_text
from .steps import StepPrinter
from .updates import Updates

HELPERS = (runtime, random_runtime, window_runtime, units_runtime)
PUBLIC = ("init", "init_state", "predict", "evaluate", "loss_and_grads", "train_step", "Workspace", "State", "check", "PARAMS",
          "TRAINED", "STATS", "start", "step", "generate")
TAKEN = {"params", "state", "workspace", "seed", "self", "grads", "np", "int", "float", "getattr", "PARAMS", "TRAINED", "STATS",
         "State", "Workspace", "blocks", "clip_by_norm", "clip_by_value", "decay_l1", "limit_norms", "project_l1"}
WORK = {"gradients": "The loss; the gradients go into the arrays of `grads`.", "predict": "The outputs.",
        "evaluate": "Sums and counts."}


@dataclass
class Module:
    """A printed module: its source, and for every named value the lines that compute it."""

    source: str = ""
    lines: dict[str, list[int]] = field(default_factory=dict)
    printers: dict[str, FunctionPrinter] = field(default_factory=dict)


class ModulePrinter:
    """Prints a compiled system as a NumPy module; `Function` prints one function's work, `Updates` the training step."""

    Function = FunctionPrinter
    Updates = Updates
    Steps = StepPrinter
    Checkpointing = Checkpointing
    Generation = GenerationPrinter
    imports = "import numpy as np\n"
    check = CHECK                                                # the text of `check`
    quiet = staticmethod(quiet)
    carried: tuple[ModuleType, ...] = HELPERS              # modules whose functions a printed module may carry

    def __init__(self, compiled: Compiled, dtype: str = "float32", level: int = 1, options: Options | None = None) -> None:
        self.compiled, self.dtype, self.level, self.options = compiled, dtype, level, options or Options()
        self.system, self.cut = compiled.stable, compiled.truncation
        for k in self.system.inputs:
            _argument(k)
        self.uses: set[str] = {"check_shape", "check_params", "Workspace"}
        self.module = Module()
        self.names = _names(compiled)
        self.sizes = self._sizes()
        axes = sorted({base(x) for n in self.system.nodes(*self.system.inputs.values()) for x in n.axes if x != BATCH})
        self.reserved = (*PUBLIC, *self.sizes, "B", *(x for a in axes for x in (a, a.upper())),
                         *(n for part in self.carried for n, _ in inspect.getmembers(part, callable)),
                         *(carrying.WORDS if self.cut else ()))
        self.rows: dict[str, dict[str, list[int]]] = {}          # function -> value -> rows of the function's text

    def _sizes(self) -> list[str]:
        """The declared sizes that anything in the module has."""
        out = self.compiled
        roots = [r for s in (out.differentiated, out.evaluated) if s for r in s.roots()]
        nodes: list[Expr] = [*postorder(*roots, *out.gradients.values()), *(p.node for p in self.system.params.values()),
                             *(s.node for s in self.system.stats.values()), *self.system.inputs.values()]
        used = {k for n in nodes for s in (*n.shape, *([n.size] if isinstance(n, Extent) else [])) for k in s.symbols}
        used |= {str(length(x)) for n in nodes for x in n.axes}  # an axis may have a declared length: a Gibbs chain
        used |= {k for i in self.system.inputs.values() if i.type.n is not None for k in i.type.n.symbols}
        return [k for k in self.system.sizes if k in used]

    # ------------------------------------------------------------ the whole

    def print(self) -> Module:
        """The module's text."""
        public: list[str] = []
        private = [self.work(name) for name in ("predict", "evaluate", "gradients") if name in self.compiled.functions]
        if self.compiled.chunked is not None and isinstance(self.options.checkpoint, Checkpoint):
            private[-1:] = self.Checkpointing(self, self.compiled.chunked, self.options.checkpoint).text()
        if "predict" in self.compiled.functions:
            public.append(self.predict())
        if "gradients" in self.compiled.functions:
            self.uses.add("State")
            updates = self.Updates(self.compiled, self.uses)
            inputs = self.arguments("gradients")
            public += [self.evaluate(), self.loss_and_grads(), updates.init_state(), updates.train_step(inputs, self.seeded)]
            private += [updates.rule(), self.selfcheck()]
        public += self.steps()
        top = [header(self.compiled, self.names), self.imports, constants(self.system, self.sizes)]
        *work, last = private or [""]
        body = [self.initial(), *public, *work]
        last = self.quiet(last)
        body = [*map(self.quiet, body), *([self.helpers(), last] if public[1:] else [last, self.helpers()])]
        self.module.source = "\n".join(trimmed(c) for c in top) + "\n\n" + "\n\n".join(trimmed(c) for c in body if c)
        self._locate()
        return self.module

    def initial(self) -> str:
        """`init`."""
        return init_text(self.system, self.dtype, self.uses)

    def selfcheck(self) -> str:
        """`check`, of gradients against differences."""
        return selfcheck_text(self.system, self.compiled.functions["gradients"], self.options, self.check)

    def steps(self) -> list[str]:
        """`start`, `step` and `generate`, where the system has steps."""
        steps = self.compiled.steps
        if steps is None:
            return []
        printer = self.Steps(steps, self.compiled.source, self.uses, self.reserved)
        functions = printer.print()
        source = self.compiled.source
        if source.feedback is not None:
            functions.append(self.Generation(steps, source, source.feedback, printer).print())
        return functions

    def _locate(self) -> None:
        """Line numbers of the values, in the finished text."""
        for at, line in enumerate(self.module.source.split("\n"), 1):
            for value, rows in self.rows.get(line.partition("(")[0], {}).items():
                self.module.lines.setdefault(value, []).extend(at + r for r in rows)

    @property
    def seeded(self) -> bool:
        """Whether the gradient draws random numbers."""
        return draws(self.compiled.functions["gradients"])

    def arguments(self, name: str) -> list[str]:
        """A function's inputs, which are its arguments, and the lengths that no input tells."""
        function = self.compiled.functions[name]
        return [*function.inputs, *function.free]

    # ------------------------------------------------------------ public functions

    @property
    def chunk(self) -> tuple[str, str]:
        """What a docstring of a truncated model says, and the argument that its functions take."""
        return (carrying.CHUNK, ", carry") if self.cut else ("", "")

    def predict(self) -> str:
        """`predict`: the outputs in evaluation mode."""
        args = ", ".join(["params", *self.arguments("predict")])
        outputs, more, carry = prose(", ".join(self.system.outputs)), *self.chunk
        return (f"def predict({args}{carry and carry + '=None'}):\n"
                f'    """The outputs {outputs}, in evaluation mode: a dict of fresh arrays.{more}"""\n'
                f"    return _predict({args}{carry}, Workspace())\n")

    def evaluate(self) -> str:
        """`evaluate`: loss, penalty and metrics in evaluation mode."""
        args = ", ".join(["params", *self.arguments("evaluate")])
        more, carry = self.chunk
        return (f"def evaluate({args}{carry and carry + '=None'}):\n"
                f'    """Loss and metrics in evaluation mode as (sum, count), which add up over batches; the penalty apart.'
                f'{more}"""\n    return _evaluate({args}{carry}, Workspace())\n')

    def loss_and_grads(self) -> str:
        """`loss_and_grads`: the objective and fresh gradients."""
        inputs, trained, stats = self.arguments("gradients"), self.compiled.trained, [*self.system.stats]
        every = "(*TRAINED, *STATS)" if stats else "TRAINED"
        if len(trained) == len(self.system.params):
            every = "PARAMS"
        more, carry = self.chunk
        call = f"{', '.join(['params', 'grads', *inputs])}{carry}, workspace or Workspace(){', seed' if self.seeded else ''}"
        grads = "{k: grads[k] for k in TRAINED}" if stats else "grads"
        return "\n".join([
            f"def loss_and_grads({', '.join(['params', *inputs, '*'])}{carry and carry + '=None'}, workspace=None, seed=0):",
            '    """The objective, penalties included, and its gradients in fresh arrays; `seed`: an int, or (seed, step).'
            f'{more}"""',
            f"    grads = {{k: np.empty_like(params[k]) for k in {every}}}",
            f"    loss{carry} = _gradients({call})",
            f"    return loss, {grads}{carry}",
        ]) + "\n"

    # ------------------------------------------------------------ the work

    def work(self, name: str) -> str:
        """`_gradients`, `_predict` or `_evaluate`, and its buffers."""
        system = self.compiled.differentiated if name == "gradients" else self.compiled.evaluated
        assert system is not None
        names, explained = (self.names, "differentiated") if name == "gradients" else (system.names, "evaluated")
        printer = self.Function(self.compiled.functions[name], self.compiled.layouts[name], system, names, self.uses,
                                  self.reserved, self.level > 0, self.compiled.explained[explained], self.options,
                                  leaves=carrying.leaves(self.cut), offsets=carrying.offsets(self.cut))
        return self.framed(name, printer, Entry(name, self.system, printer, self.uses, self.cut), WORK[name])

    def framed(self, name: str, printer: FunctionPrinter, entry: Entry, what: str) -> str:
        """A function and its buffers: the statements of a printer between what stands around them."""
        self.module.printers[name] = printer
        printer.name = name
        function, body = printer.function, printer.body()
        local = {e.name: a.name for a, e in printer.values.items() if isinstance(e, Input)}
        owned = name == "gradients" or any(v.array.role == "result" for v in function.results.values())
        args = ["params", *(["grads"] if owned else []), *(local[k] for k in function.inputs), *function.free,
                *(["carry"] if self.cut else []), "workspace", *(["seed"] if draws(function) else [])]
        head = [f"def _{name}({', '.join(args)}):", f'    """{what}"""', *entry.prologue()]
        self.rows[f"def _{name}"] = {k: [len(head) + r for r in rows] for k, rows in body.where.items()}
        buffers = entry.buffers()
        return "\n".join([*head, *body.lines, *entry.epilogue()]) + "\n" + (f"\n\n{buffers}" if buffers else "")

    def helpers(self) -> str:
        """The source of every helper that the module uses, and of those that they use."""
        source = "\n".join(map(inspect.getsource, self.carried))
        tree = {n.name: n for n in ast.parse(source).body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
        wanted: set[str] = set()
        stack = [u for u in sorted(self.uses) if u in tree]
        while stack:
            name = stack.pop()
            if name not in wanted:
                wanted.add(name)
                stack += [n for n in names_around(tree[name]) if n in tree]
        lines = source.split("\n")
        return "\n\n\n".join("\n".join(lines[tree[n].lineno - 1:tree[n].end_lineno]) for n in tree if n in wanted) + "\n"


def names_around(node: ast.AST, own: frozenset[str] = frozenset()) -> Iterator[str]:
    """The names that a function or a class takes from around it; `own`: what it binds itself."""
    if isinstance(node, ast.FunctionDef | ast.Lambda):
        own |= {n.arg for n in ast.walk(node) if isinstance(n, ast.arg)}
        own |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if isinstance(node, ast.Name) and node.id not in own:
        yield node.id
    for n in ast.iter_child_nodes(node):
        yield from names_around(n, own)


def draws(function: Function) -> bool:
    """Whether a function draws random numbers."""
    return any(isinstance(s, Draw) for s in flat(function.body))


def _names(compiled: Compiled) -> dict[Expr, str]:
    """What nodes are called: the system's names, adjoints included; a gradient is d_ and its parameter."""
    system = compiled.differentiated or compiled.evaluated
    names = dict(system.names) if system is not None else {}
    for k, e in compiled.gradients.items():
        names.setdefault(e, f"d_{k}")
    return names


def _argument(name: str) -> None:
    """Refuse the name of an input that cannot be an argument of the public functions."""
    plain = name.isidentifier() and unicodedata.normalize("NFKC", name) == name and not name.startswith("_")
    if not plain or keyword.iskeyword(name) or name in TAKEN:
        raise GraphError(f"the input {name!r} cannot be an argument of the generated functions; it needs another name")


def refuse_taken(sizes: Iterable[str], source: str) -> None:
    """Refuse a size that a module's text calls something else, too: a helper, a table, a class of Python's own."""
    bound = Counter[str]()
    for n in ast.parse(source).body:
        if isinstance(n, ast.FunctionDef | ast.ClassDef):
            bound[n.name] += 1
        elif isinstance(n, ast.Import | ast.ImportFrom):
            bound.update(a.asname or a.name for a in n.names)
        else:
            bound.update(x.id for x in ast.walk(n) if isinstance(x, ast.Name) and isinstance(x.ctx, ast.Store))
    for k in sizes:
        if bound[k] > 1 or hasattr(builtins, k):
            raise GraphError(f"the size {k} cannot be called so in the generated module, which has something of that name; it "
                             f"needs another name, such as {k}_SIZE")


def trimmed(text: str) -> str:
    return text.strip("\n") + "\n"
