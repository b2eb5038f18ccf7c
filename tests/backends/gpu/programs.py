"""A model in NumPy and, on the stand-in for CuPy, as a program for a GPU: everything that both compute, compared."""

import inspect
import sys
import types
import warnings
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from chainrule.backends.cpu.program import Program
from chainrule.backends.gpu.program import CudaProgram
from chainrule.compiler.options import Options
from chainrule.frontends.language import parse
from gpu import host, nvrtc, ptx, standin, wide
from zoo import trained_energies as energies
from zoo.build import LENGTHS
from zoo.catalogue import ZOO
from zoo.points import CASES, drawn

STEPS = 3


@dataclass
class Case:
    """A model with parameters and inputs."""

    system: object
    params: dict
    inputs: dict
    numpy: Program
    source: str


@cache
def case(name, **lengths):
    """A model with numbers: of the zoo or one with wide rows, at these lengths; an energy model, or one of the catalogue's."""
    if name in energies.TRAINED:
        numpy = energies.program(energies.TRAINED[name], "float32")
        return Case(numpy.system, numpy.init(seed=1), energies.data(numpy.system), numpy, CudaProgram(numpy.system).source)
    lengths = LENGTHS | wide.LENGTHS.get(name, {}) | lengths
    return made(CASES[name]() if name in CASES else drawn(ZOO[name]() if name in ZOO else parse(wide.WIDE[name]), lengths))


def made(point, **options):
    """The case of a model with numbers, its module for a GPU printed with these options."""
    numpy = Program(point.system, "float32")
    params = {k: np.asarray(v).astype(np.float32) for k, v in point.params.items()}
    return Case(point.system, params, point.inputs(numpy), numpy, CudaProgram(point.system, options=Options(**options)).source)


def on_their_way(module, inputs):
    """Arrays on the device; lengths as they are."""
    return {k: v if isinstance(v, int) else module.to_device(v) for k, v in inputs.items()}


def loaded(source, *how):
    """A generated module on the stand-in: in this order of threads, trapped, capturing."""
    module = types.ModuleType("generated")
    before = sys.modules.get("cupy")
    sys.modules["cupy"] = standin.cupy(*how)
    try:
        exec(compile(source, "generated.py", "exec"), module.__dict__)
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before
    module.ctypes = standin.Ctypes()
    return module


def taking(function, params, inputs, **more):
    """What a function gives of those inputs that it takes."""
    taken = inspect.signature(function).parameters
    return function(params, **{k: v for k, v in inputs.items() if k in taken}, **more)


def other_examples(module, value, k):
    """An input of step k, the first example replaced by the k-th: a graph that is replayed must read it anew."""
    if not hasattr(value, "shape") or not value.ndim or k == 0:
        return value
    on_device = hasattr(module, "to_host")
    rows = (module.to_host(value) if on_device else value).copy()
    rows[0] = rows[k % len(rows)]
    return module.to_device(rows) if on_device else rows


def trained(module, params, inputs):
    """Losses, parameters and state of some steps, where a model is trained."""
    if not hasattr(module, "train_step"):
        return {}
    state = module.init_state(params, seed=3)
    taken = inspect.signature(module.train_step).parameters
    inputs, out = {k: v for k, v in inputs.items() if k in taken}, {}
    if "carry" in taken:
        inputs["carry"] = None
    for k in range(STEPS):
        given = {n: other_examples(module, v, k) for n, v in inputs.items()}
        out[f"loss of step {k}"] = found = module.train_step(params, state, **given)
        if "carry" in taken:                                     # the next chunk goes on where this one ends
            inputs["carry"] = found[1]
    return out | {f"{k} after {STEPS} steps": v for k, v in params.items()} | {f"state {k}": v for k, v in state.items()}


def everything(module, params, inputs):
    """The results of all functions of a model's module, by name; the parameters are changed by steps in the end."""
    out = {}
    for seed in (0, 7) if hasattr(module, "loss_and_grads") else ():
        loss, grads = taking(module.loss_and_grads, params, inputs, seed=seed)[:2]
        out |= {f"loss, seed {seed}": loss, **{f"d {k}, seed {seed}": v for k, v in grads.items()}}
    for name in ("predict", "evaluate", "free_energy", "statistics", "hidden_given_visible"):
        if hasattr(module, name):
            found = taking(getattr(module, name), params, inputs)
            out |= {f"{name} {k}": v for k, v in (found if isinstance(found, dict) else {"": found}).items()}
    if hasattr(module, "gibbs"):
        found = module.gibbs(params, k=3, seed=2, **inputs)
        out |= {f"gibbs {k}": v for k, v in enumerate(found if isinstance(found, tuple) else (found,))}
    return out | trained(module, params, inputs)


def on_device(c, order=host.FORWARD, trapped=False, captures=True, source=None):
    """All results of a model's program for a GPU, as arrays of NumPy by name; `replayed`: steps that were a captured graph."""
    module = loaded(source or c.source, order, trapped, captures)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "a step cannot be captured")                # `replayed` says so
        found = everything(module, module.to_device(c.params), on_their_way(module, c.inputs))
    return flat({k: module.to_host(v) for k, v in found.items()} | {"replayed": standin.SETTINGS.count.replayed})


def on_numpy(c, captures=True):
    """The same of the module for NumPy, and how many steps are expected to be a graph."""
    found = everything(c.numpy.module, {k: v.copy() for k, v in c.params.items()}, c.inputs)
    carries = [v[1].values() for k, v in found.items() if k.startswith("loss of step") and isinstance(v, tuple)]
    plain = 2 if carries else 1                                  # a sequence's first chunk has a graph of its own
    return flat(found | {"replayed": STEPS - plain if captures and hasattr(c.numpy.module, "train_step") else 0})


def interpreted(c, source=None):
    """The first launch of each kernel of a model, by the interpreter of PTX: kernel -> how it differs from the CPU's."""
    module, seen = loaded(source or c.source), {}
    texts = {False: module.KERNELS.text, **({True: module.TOGETHER.text} if hasattr(module, "TOGETHER") else {})}
    kernels = {k: ptx.kernels(nvrtc.compiler().compile(text, "compute_90", "-lineinfo").ptx) for k, text in texts.items()}

    def watch(kernel, grid, block, given, shared_mem, run):
        together = kernel.module.cooperative
        name = f"{kernel.name}{', together' if together else ''}"
        if name in seen:
            return run()
        copies = [a.copy() for a in given]
        ptx.launch(kernels[together][kernel.name], grid, block, copies, shared_mem, together)
        run()
        pairs = [(x, y) for x, y in zip(copies, given, strict=True) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        seen[name] = max((off(x, y) for x, y in pairs), default=0.0)

    params, inputs = module.to_device(c.params), on_their_way(module, c.inputs)
    standin.SETTINGS.watch = watch
    try:
        everything(module, params, inputs)
    finally:
        standin.SETTINGS.watch = None
    return seen


def off(x, y):
    """The largest difference of two arrays, measured by the largest number; NaN and infinity stand where they stand."""
    finite = np.isfinite(y)
    if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(x[finite]).all():
        return np.inf
    return float(np.max(np.abs(x[finite] - y[finite]), initial=0) / max(np.max(np.abs(y[finite]), initial=0), 1e-6))


def nudged(c, scale, seed):
    """The same model, every parameter moved by about this part of itself."""
    rng = np.random.default_rng(seed)
    moved = {k: np.asarray(v * (1 + scale * rng.standard_normal(v.shape)), v.dtype) for k, v in c.params.items()}
    return replace(c, params=moved)


def at_a_kink(c, rtol, atol):
    """Whether NumPy's own results jump when parameters change by ten roundings: a relu of almost 0, a maximum of almost equal
    values. Then its results are one of several that are as right.
    """
    wanted = on_numpy(c)
    return any(differences(on_numpy(nudged(c, 1e-6, seed)), wanted, rtol, atol) for seed in range(16))


def agreeing(c, run, wanted, rtol, atol):
    """A case, what `run` gives of it, and how that differs from what is `wanted` of it; at a kink, of parameters beside it."""
    found = run(c)
    off = differences(found, wanted(c), rtol, atol)
    if off and at_a_kink(c, rtol, atol):
        c = nudged(c, 1e-3, seed=0)
        found = run(c)
        off = differences(found, wanted(c), rtol, atol)
    return c, found, off


def flat(results):
    """name -> array, tuples and dicts taken apart."""
    out = {}
    for k, v in results.items():
        parts = v if isinstance(v, dict) else dict(enumerate(v)) if isinstance(v, tuple) else None
        out |= {k: np.asarray(v)} if parts is None else flat({f"{k}[{j}]": x for j, x in parts.items()})
    return out


def differences(found, wanted, rtol, atol):
    """Names of results that differ, with how much. Steps amplify what rounding does, Adam's most: 50 times as much may differ."""
    assert found.keys() == wanted.keys(), {*found} ^ {*wanted}
    out = {}
    for k, v in wanted.items():
        x, y = (a.astype(np.float64) for a in (found[k], v))
        r = rtol * (50 if "step" in k or "state" in k else 1)
        if x.shape != y.shape:
            out[k] = f"shape {x.shape}, not {y.shape}"
        elif not np.allclose(x, y, r, atol + r * np.abs(y).max(initial=0)):
            out[k] = f"off by {np.abs(x - y).max():.2g}, of {np.abs(y).max():.2g}"
    return out
