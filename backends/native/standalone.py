"""A model as one C11 file and its header: parameters drawn, predictions, gradients, training steps; no other file, no malloc.

The functions are the native backend's, printed over static arrays whose lengths are constants: BATCH and LENGTH are macros.
What needs more than that (gradients recomputed in chunks, several files) has no form here, and a sentence says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...compiler.graph import BATCH, GraphError, Input
from ...compiler.graph import length as axis_length
from ...compiler.optimisers import OPTIMISERS
from ...compiler.options import Options
from ...compiler.passes.memory import Slot, nominal
from ...compiler.pipeline import compile_system
from ...compiler.sizes import Size, product
from ...compiler.system import System
from ..cpu.energies import EnergyPrinter
from ..cpu.entry import Entry, largest
from ..cpu.functions import FunctionPrinter
from ..cpu.module import Module, ModulePrinter
from ..cpu.program import uncollected
from .convolutions import TEXT as CONVOLUTIONS
from .convolutions import Shapes
from .indexing import CTYPES
from .kernels import length
from .prelude import PRELUDE
from .program import NativeProgram
from .standalone_function import TYPES, Frame, StandaloneFunction, begin, by_time, length_text, outward, turned, word
from .standalone_header import Header, macros
from .standalone_steps import step_functions
from .standalone_updates import StandaloneUpdates
from .updates import unused
from .words import KEYWORDS, size_name

HERE = Path(__file__).parent
FUNCTION = re.compile(r"(?:^/\*(?:(?!\*/).)*\*/\n)?^(?:static (?:inline )?|INLINE )[\w ]+?\**(\w+)\((?:[^;{]|\n)*?\)\s*"
                      r"\{(?:[^\n]*\} *(?:/\*[^\n]*\*/)?\n|.*?^\}\n)", re.M | re.S)
CHOICE = re.compile(r"(?m)^#if[^\n]*\n#define (\w+)[^\n]*\n#else\n#define \1\b[^\n]*\n#endif\n")
PAD = "    "
PUBLIC = {"gradients": "loss_and_grads", "hidden": "hidden_given_visible", "visible": "visible_given_hidden"}


class StandalonePrinter(ModulePrinter):
    """Prints a compiled system as a C file; `header` is the text of the header."""

    Function = StandaloneFunction

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.prefix, self.included = name_in_c(self.system), ""
        self.printed: dict[str, StandaloneFunction] = {}
        self.shapes = Shapes(self.system.sizes)
        self.updates = StandaloneUpdates(self.compiled, self.prefix)

    # ------------------------------------------------------------ functions

    def framed(self, name: str, printer: FunctionPrinter, entry: Entry, what: str) -> str:
        """A function is kept, until the memory of all of them is known."""
        assert isinstance(printer, StandaloneFunction)
        self.keep(name, printer)
        return ""

    def keep(self, name: str, printer: StandaloneFunction) -> None:
        """Enter a function."""
        printer.name, printer.prefix, printer.shapes = PUBLIC.get(name, name), self.prefix, self.shapes
        self.printed[name] = self.module.printers[name] = printer

    def collect(self) -> None:
        """The printers of all functions."""
        for name in ("predict", "gradients"):
            if name in self.compiled.functions:
                self.work(name)
        for name, printer in step_functions(self).items():
            self.keep(name, printer)

    def print(self) -> Module:
        """The text of the file; `self.header` is the header's."""
        self.collect()
        self.slots = shared([p.plan.slots for p in self.printed.values()], self.system.sizes)
        for k, p in self.printed.items():
            p.frame = self.frame(k, p)
        self.lengths = self._lengths()
        self.spelled = {**{k: f"{self.prefix.upper()}_{m}" for k, m in macros(self.lengths).items()},
                        **{k: f"{self.prefix.upper()}_{size_name(k)}" for k in self.system.sizes}}
        functions = [p.text() for p in self.printed.values()]
        self.called = "\n".join([*functions, self.updates.init(True), self.shapes.text()])
        self.header = Header(self).text()
        parts = [self.head(), self.machinery(), self.arrays(), self.updates.init("gradients" in self.printed), self._begin(),
                 self.fit(), *functions, self.training(), self.files()]
        self.module.source = pruned("\n".join(x.strip("\n") + "\n" for x in parts if x))
        return self.module

    def frame(self, name: str, printer: StandaloneFunction) -> Frame:
        """What stands around a function."""
        function, steps = printer.function, self.compiled.steps
        inputs, slots = {k: printer.system.inputs[k] for k in function.inputs}, slot_names(printer.plan.slots, self.system.sizes)
        frame = Frame(self.prefix, "real" if name == "gradients" else "bool", inputs, slots=slots)
        if name in ("start", "step") and steps is not None:
            given = steps.plan.fixed if name == "start" else steps.plan.given
            frame.inputs = {k: steps.systems[name].inputs.get(k, self.system.inputs[k]) for k in given}
            frame.steps, frame.stores = steps.plan, steps.plan.before if name == "start" else steps.plan.after
        else:
            frame.cut = self.cut
        if name == "gradients":
            frame.held = {k: f"{word(k)}_" for k in self.compiled.chain}
        elif name != "start":
            keys = steps.plan.outputs if name == "step" and steps is not None else (*function.results, *function.numbers)
            frame.outputs = {k: printer.layout.plan.roots[k] for k in keys}
        printer.frame = frame
        found = self.checked(frame.inputs)
        if found:
            printer.name_all()
            inner = printer.inner()
            frame.checks = [f"!fit_({', '.join(inner[k] for k in found)})"] if name == "gradients" else \
                [self.outside(e, inner[k]) for k, e in found.items()]
        return frame

    def checked(self, inputs: Mapping[str, Input]) -> dict[str, Input]:
        """Inputs whose values are indices."""
        return {k: e for k, e in inputs.items() if self.updates.limit(e)}

    def outside(self, e: Input, name: str) -> str:
        """The condition that an input of indices is out of range; `name`: what it is called."""
        return f"outside_({length(product(outward(e)))}, {first(name, e)}, {self.updates.limit(e)})"

    def head(self) -> str:
        """The comment, the header, the sizes."""
        sizes = ", ".join([*(f"{size_name(k)} = {self.spelled[k]}" for k in self.lengths),
                           *(f"{size_name(k)} = {self.spelled[k]}" for k in self.sizes)])
        return f"""{Header(self).comment()}
#include "{self.included}"
#undef {self.prefix}_init
#undef {self.prefix}_load

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

{f'enum {{ {sizes} }};' if sizes else ''}{self.demanded()}

#define KIND_float 1
#define KIND_double 2
#define KIND_NAMED_(x) KIND_##x
#define KIND_OF_(x) KIND_NAMED_(x)
#if KIND_OF_(REAL) == KIND_double
#define DOUBLE
#elif KIND_OF_(REAL) != KIND_float
#error "REAL is float or double"
#endif
#ifdef __clang__
#pragma clang diagnostic ignored "-Wpass-failed"                 /* a loop that is not vectorised is no mistake */
#endif
"""

    def demanded(self) -> str:
        """The lengths for which every step is written out, and those from which on the steps are there that the model reads."""
        found = {k: n for p in self.printed.values() for k, n in p.function.lengths.items()}
        lines = [(k, "==", f"every step is written out for {self.spelled[k]} = {n}", n) for k, n in found.items()]
        lines += [(k, ">=", f"the model reads a step that is there from {self.spelled[k]} = {n} on", n)
                  for k, n in self.least().items()]
        return "".join(f'\n_Static_assert({size_name(k)} {sign} {n}, "{why}");' for k, sign, why, n in lines)

    def least(self) -> dict[str, int]:
        """The lengths that some function asks for at least."""
        every = [item for p in self.printed.values() for item in p.function.least.items()]
        return {k: max(n for x, n in every if x == k) for k, _ in every}

    def machinery(self) -> str:
        """Elementary functions, matrix products, random numbers."""
        own = [HERE / k for k in ("standalone_product.c", "random.c", "standalone_init.c")]
        prelude = re.sub(r"(?m)^#include [^\n]*\n", "", PRELUDE).lstrip()
        convolutions = [CONVOLUTIONS, self.shapes.text()] if self.shapes.names else []
        return "\n".join([prelude, *(p.read_text(encoding="utf-8") for p in own), *convolutions])

    def arrays(self) -> str:
        """What the functions work on."""
        p = self.prefix
        rate = {**OPTIMISERS[self.updates.training.optimiser][0], **dict(self.updates.training.options)}.get("lr", 0)
        lines = [f"{p}_weights {p}_params, {p}_grads;", f"struct {p}_state {p}_state = {{0, 0, {float(rate)!r}}};"]
        lines += [f"static {p}_weights {', '.join(self.updates.slots)};"] if self.updates.slots else []
        lines = lines if "gradients" in self.printed else [f"{p}_weights {p}_params;"]
        lines += [f"static {CTYPES.get(s.kind, 'real')} {slot_name(k)}[{self.count(s.sizes)}];" for k, s in self.slots.items()]
        lines += [f"static {kind} {n}{''.join(f'[{length(d)}]' for d in dims)};" for n, kind, dims in self.kept()]
        lines += [f"static double orthogonal_scratch_[{self.count(self.updates.scratch())}];"] if self.scratch else []
        lines += [f"static {p}_carry before_;"] if self.cut is not None and self.cut.slots else []
        lines += [f"static {p}_memory remembered_;"] if "step" in self.printed else []
        lines.insert(0, f"const volatile char {p.upper()}_FLAGS = 1;")
        return ("/* The memory: parameters, gradients, the optimiser's; values that are never needed at the same time share. */\n"
                + "\n".join(lines) + "\n")

    def count(self, sizes: list[Size], spelled: Mapping[str, str] | None = None) -> str:
        """How many elements hold each of these sizes."""
        return count(sizes, spelled or {}, {*self.system.sizes})

    @property
    def scratch(self) -> bool:
        return any(p.init.kind == "orthogonal" for p in self.system.params.values())

    def constant_memory(self) -> list[tuple[str, str]]:
        """Static arrays inside functions of fixed sizes, where they are called."""
        out = [("real", "64 * 256")] if "gemm(" in self.called else []
        out += [("double", "512"), ("uint64_t", "256")] if re.search("normal_values_|orthogonal_", self.called) else []
        return out + [("real", n) for n in re.findall(r"static _Thread_local real \w+\[(\d+)\]", self.called)]

    def kept(self) -> list[tuple[str, str, tuple[Size, ...]]]:
        """Inputs step by step, and persistent chains: names, types, dims."""
        found = {e.name: e for p in self.printed.values() for a in p.arrays() if isinstance(e := p.values.get(a), Input)
                 and e.name in p.frame.inputs and turned(e)}
        out = [(by_time(k), TYPES.get(e.type.kind, "real"), e.dims) for k, e in found.items()]
        return out + [(f"{word(k)}_{more}", "real", self.system.inputs[k].dims)
                      for k in self.compiled.chain for more in ("", "next_")]

    def _begin(self) -> str:
        return begin(self.cut.slots, self.prefix) if self.cut is not None and self.cut.slots else ""

    def fit(self) -> str:
        """`fit_`: whether the indices that a training step is given are in range."""
        found = self.checked(self.printed["gradients"].frame.inputs) if "gradients" in self.printed else {}
        if not found:
            return ""
        args = [a for a in self.printed["gradients"].given() if a.name in {word(k) for k in found}]
        conditions = " && ".join(f"!{self.outside(e, word(k))}" for k, e in found.items())
        return (f"/* Whether classes and lengths are in range. */\nstatic bool fit_({', '.join(a.text({}) for a in args)})\n{{\n"
                f"{PAD}return {conditions};\n}}\n")

    def training(self) -> str:
        """The rule and `train_step`."""
        if "gradients" not in self.printed:
            return ""
        printer, p = self.printed["gradients"], self.prefix
        given = ", ".join([*(a.name for a in printer.given()), *(["carry"] if self.cut is not None else [])])
        found, after = ", ".join(word(k) for k in self.checked(printer.frame.inputs)), self.updates.after()
        body = [*([f"{PAD}if (!fit_({found})) return NAN;"] if found else []), *(PAD + x for x in self.updates.look()),
                f"{PAD}const real loss = {p}_loss_and_grads({given});",
                f"{PAD}const double lr = {p}_state.lr, step = (double)++{p}_state.step;", *unused(("lr", "step"), after),
                *self.chains(), *after, f"{PAD}return loss;"]
        return "\n".join([self.updates.rule_text(), printer.prototype({}, "train_step").rstrip(";"), "{", *body, "}"]) + "\n"

    def chains(self) -> list[str]:
        """Persistent chains go on from where they are."""
        return [f"{PAD}memcpy({word(k)}_, {word(k)}_next_, sizeof {word(k)}_);" for k in self.compiled.chain]

    def files(self) -> str:
        """`save` and `load`."""
        p = self.prefix
        return f"""bool {p}_save(const char *path)
{{
    FILE *file = fopen(path, "wb");
    if (!file) return false;
    const bool written = fwrite(&{p}_params, sizeof {p}_params, 1, file) == 1;
    return !fclose(file) && written;
}}

bool {p}_load(const char *path)
{{
    FILE *file = fopen(path, "rb");
    if (!file) return false;
    const bool fits = !fseek(file, 0, SEEK_END) && ftell(file) == (long)sizeof {p}_params && !fseek(file, 0, SEEK_SET)
        && fread(&{p}_params, sizeof {p}_params, 1, file) == 1;       /* a device that fails while it is read: half new */
    fclose(file);
    return fits;
}}
"""

    def _lengths(self) -> list[str]:
        """The lengths that are macros: the batch, then those of axes."""
        found: set[str] = set()
        for p in self.printed.values():
            found |= p._symbols() | {*p.function.free} | {x for a in p._every() for d in a.dims for x in d.symbols}
            for e in p.frame.inputs.values():
                found |= {x for d in (*e.dims, e.type.n) if d is not None for x in d.symbols}
        return sorted(found - {*self.system.sizes}, key=lambda n: (n != str(axis_length(BATCH)), n))


class StandaloneEnergyPrinter(StandalonePrinter, EnergyPrinter):
    """The same of an energy model: its conditionals and its free energy instead of predictions."""

    def collect(self) -> None:
        self.work("gradients")
        for name in ("hidden", "visible", "free_energy"):
            if name in self.compiled.parts:
                self.part(name)


@dataclass(frozen=True)
class CFiles:
    """A model in C: the text of `name`.c and of `name`.h, the macros of lengths and their values, the bytes of its memory."""

    name: str
    source: str
    header: str
    lengths: dict[str, str]
    defaults: dict[str, int]
    bytes: int


def standalone(system: System, options: Options | None = None, header: str = "", dtype: str = "float32") -> CFiles:
    """The C file of a system, and its header. GraphError says in a sentence what has no form there.

    `header`: what the header's file is called; `dtype`: the elements where nobody says -DREAL=... to the compiler.
    """
    given = options or Options()
    if given.checkpoint is not None:
        raise GraphError("a C file keeps every step of a sequence in memory; leave out --checkpoint")
    with uncollected():
        kind = StandalonePrinter if system.energy is None else StandaloneEnergyPrinter
        printer = kind(compile_system(system, given, NativeProgram.direct), dtype, 1, given)
        printer.included = header or f"{printer.prefix}.h"
        printed = printer.print()
    head, lengths = Header(printer), macros(printer.lengths)
    return CFiles(printer.prefix, printed.source, printer.header, lengths, {lengths[k]: n for k, n in head.defaults().items()},
                  head.bytes(8 if dtype == "float64" else 4))


def name_in_c(system: System) -> str:
    """The model's name, with which all of its names begin in C."""
    name = word(system.name)                                     # a pretrain block is called model.block
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) or system.name in KEYWORDS:
        raise GraphError(f"all names of a C file begin with the model's, and {system.name!r} is no name in C; "
                         "give the model another one: letters, digits and _")
    words = [word(k) for k in (*system.params, *system.stats)]
    for k in (k for k in words if words.count(k) > 1):
        raise GraphError(f"two parameters would be called {k} in C; one of them needs another name")
    return name


def first(name: str, e: Input) -> str:
    """The address of an input's first element."""
    return f"&{name}{'[0]' * len(e.dims)}"


def shared(plans: list[list[Slot]], sizes: Mapping[str, int]) -> dict[tuple[str, int], Slot]:
    """Slots of several functions that never run at the same time: the largest of each in one, and so on; by kind and rank."""
    out: dict[tuple[str, int], Slot] = {}
    for slots in plans:
        for key, s in ranked(slots, sizes):
            found = out.setdefault(key, Slot(s.kind))
            found.sizes += [n for n in s.sizes if n not in found.sizes]
    return out


def ranked(slots: list[Slot], sizes: Mapping[str, int]) -> list[tuple[tuple[str, int], Slot]]:
    """The slots of a function, the largest of each kind first, with their kind and rank."""
    order = sorted(slots, key=lambda s: -max(nominal(n, sizes) for n in s.sizes))
    seen: dict[str, int] = {}
    out = []
    for s in order:
        seen[s.kind] = seen.get(s.kind, -1) + 1
        out.append(((s.kind, seen[s.kind]), s))
    return out


def slot_names(slots: list[Slot], sizes: Mapping[str, int]) -> list[str]:
    """The file's array of each slot of a function."""
    names = {id(s): slot_name(key) for key, s in ranked(slots, sizes)}
    return [names[id(s)] for s in slots]


def slot_name(key: tuple[str, int]) -> str:
    return f"{key[0]}s_{key[1] + 1}_"


def count(sizes: list[Size], spelled: Mapping[str, str], declared: set[str]) -> str:
    """The largest of some sizes as a constant expression."""
    texts = [length_text(n, spelled) for n in largest(sizes, declared)]
    texts += ["1"] if any("-" in x for x in texts) else []
    out = texts[0]
    for x in texts[1:]:
        out = f"MAX_({out}, {x})"
    return out


def pruned(text: str) -> str:
    """The text without the static functions that nothing calls."""
    found: dict[str, str] = {}
    for m in FUNCTION.finditer(text):
        found[m[1]] = found.get(m[1], "") + m[0]
    around = re.sub(r"(?m)^#pragma omp declare .*$", "", FUNCTION.sub("", text))
    wanted = set(re.findall(r"\w+", around)) & found.keys()
    used: set[str] = set()
    while wanted:
        name = wanted.pop()
        used.add(name)
        wanted |= (set(re.findall(r"\w+", found[name])) & found.keys()) - used
    out = FUNCTION.sub(lambda m: m[0] if m[1] in used else "", text)
    gone = "|".join(found.keys() - used) or "$."
    out = re.sub(rf"(?m)^#pragma omp declare .*\b({gone})\b.*\n", "", out)
    for m in CHOICE.finditer(out):                               # a macro that nobody uses
        out = out if len(re.findall(rf"\b{m[1]}\b", out)) > 2 else out.replace(m[0], "")
    return re.sub(r"\n{3,}", "\n\n", out)


__all__ = ["CFiles", "standalone"]
