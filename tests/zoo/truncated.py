"""Truncated systems: a sequence in chunks, and the whole of it, in which no gradient passes their borders."""

from dataclasses import replace

import numpy as np
from chainrule.compiler.derivatives import grad
from chainrule.compiler.graph import BATCH, BOOL, Input, Shift, Stop, apply
from chainrule.compiler.interpret import evaluate
from zoo import recurrent as zoo
from zoo.build import LENGTHS
from zoo.chunked import CHUNKED

STEPS = 5
MEANS = [zoo.elman, zoo.lstm_split, zoo.lstm_concat, zoo.lstm_packed, zoo.lstm_stacked, zoo.gru, zoo.delay2, zoo.layer_norm,
         zoo.attention, zoo.noisy, *CHUNKED]                     # losses that are means over t, so that chunks add up


def truncating(system, chunk):
    system.training = replace(system.training, truncate=chunk)
    return system


def stopped(system, axis="t"):
    """The whole sequence, where what a delay reads from an earlier chunk passes no gradient; which steps read so are inputs."""
    memo, edges = {}, {}
    for n in system.nodes():
        new = n.with_args(tuple(memo[a] for a in n.args))
        if isinstance(n, Shift) and n.axis == axis and n.type.kind == "real":
            edge = edges.setdefault(-n.s, Input(f"edge{-n.s}", (axis,), (), BOOL))
            new = apply("select", edge, Stop(new), new)
        memo[n] = new
    out = system.mapped(memo)
    out.inputs |= {e.name: e for e in edges.values()}
    return out, edges


def whole(system, at, chunk):
    """Loss and gradients of the whole sequence, truncated at multiples of `chunk`, by the reference interpreter."""
    out, edges = stopped(system)
    steps = np.arange(STEPS)
    given = {**at, **{e.name: (steps >= chunk) & (steps % chunk < k) for k, e in edges.items()}}
    extended, grads = grad(out, out.objective(), [p.node for p in out.params.values()])
    return evaluate(extended, [out.objective(), *grads], given, {**LENGTHS, "T": STEPS}, seed=3)


def part(system, at, lo, hi):
    """The inputs of the steps lo, ..., hi-1, batch first."""
    out = {}
    for k, node in system.inputs.items():
        v = at[k][lo:hi] if "t" in node.axes else at[k]
        out[k] = np.swapaxes(v, 0, 1) if len(node.axes) > 1 and BATCH in node.axes else v
    return out


def chunked(program, system, params, at, chunk):
    """The mean loss and gradient over the chunks, each weighted by its length."""
    carry, loss, grads = None, 0.0, {k: 0.0 for k in system.params}
    workspace = program.Workspace()
    for lo in range(0, STEPS, chunk):
        hi = min(lo + chunk, STEPS)
        value, found, carry = program.loss_and_grads(params, **part(system, at, lo, hi), carry=carry, workspace=workspace, seed=3)
        loss += float(value) * (hi - lo) / STEPS
        grads = {k: grads[k] + found[k] * (hi - lo) / STEPS for k in grads}
    return loss, grads
