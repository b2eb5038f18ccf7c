"""What random models compute along time: cells of their own and of the library, attention, reductions over time."""

from __future__ import annotations

from dataclasses import replace

from zoo.random_drafts import STARTS
from zoo.random_terms import REDUCTIONS, TERMS, joined, term

CELLS = ("lstm", "gru", "lstm_plain", "lstm_peephole", "lstm_coupled", "mgu", "elman", "elman2", "gru_after", "gru_plain",
         "mi_rnn", "qrnn", "lstm_torch", "gru_torch", "lstm_keras", "gru_keras", "rnn_keras", "mlstm", "irnn", "lstm_layer_norm",
         "rnn_torch")
OTHERWISE = ("qrnn", "elman2", "lstm_keras")                     # cells whose start is not one h0
FORMS = ("tanh({p})", "tanh({p})", "0.5 * {e} + 0.5 * tanh({p})", "sigmoid({p}) * {e} + 0.2 * sin({p})",
         "(1 - sigmoid({p})) * {e} + sigmoid({p}) * tanh({q})", "softsign({p}) + 0.3 * {e}", "0.3 * relu({p}) * 0.5 + 0.2 * {e}")
STACKS = ("bidirectional", "stacked", "stacked_bidirectional", "stacked_residual", "gru_torch_bidirectional")
RANGES = ("t", "t", "t", "t >= 1", "t < T-1", "t > 0, t < T-1")


def stepwise(d, axis):
    """A vector at every step of that axis alone."""
    return d.pick(1, lambda v: v.axes == (axis,) and v.batch)


def library_cell(d, axis="t"):
    """A cell of the library, in either direction, or several of them."""
    x, h = stepwise(d, axis), d.dim()
    if x is None:
        return None
    if d.chance(0.2) and axis == "t" and d.ahead:
        f = d.r.choice(STACKS)
        h = min(d.n(h), 4)
        more = ", 2" if f.startswith("stacked") else ""
        cell = f", {d.r.choice(('gru', 'elman', 'mgu'))}" if "torch" not in f and d.chance(0.6) else ""
        return replace(x, text=f"{f}({x.text}, {h}{more}{cell})", shape=(2 * h if "bidirectional" in f else h,), power=0)
    cell = d.r.choice(CELLS)
    h = 3 if "layer_norm" in cell and d.n(h) < 3 else h
    back = ", reverse = true" if d.ahead and d.chance(0.25) else ""
    still = d.pick(1, lambda v: v.shape == (h,) and not v.axes and v.batch and v.name)
    start = f", h0 = {still.text}" if still and not back and cell not in OTHERWISE and d.chance(0.5) else ""
    return replace(x, text=f"{cell}({x.text}, {h}{start}{back})", shape=(h,), power=0)


def own_cell(d, axis="t"):
    """One to three states that read one another's earlier steps, and whatever terms there are between them."""
    x = stepwise(d, axis)
    if x is None:
        return None
    back = d.ahead and d.chance(0.2)
    states = [(d.fresh("s"), d.dim()) for _ in range(d.r.choice((1, 1, 1, 2, 2, 3)))]
    deep = {s: d.r.choice((1, 1, 1, 2)) for s, _ in states}
    outside, d.values, was = d.values, [v for v in d.values if v.axes in ((), (axis,)) and v.kind == "real"][-4:], d.loop
    outside_only, d.loop = [*d.values], True
    for name, h in states:
        for k in range(1, deep[name] + 1):
            d.add(replace(x, text=f"{name}[{axis}{'+' if back else '-'}{k}]", shape=(h,), power=0))
    for _ in range(d.r.choice((1, 1, 2, 3, 5))):
        term(d)
    for name, h in states:
        d.add(replace(x, text=closing(d, x, name, h, axis, deep[name], back), shape=(h,), power=0))
    found = [v for v in d.values if v not in outside_only and f"{axis}-" not in v.text and f"{axis}+" not in v.text]
    d.values, d.loop = outside + found, was
    return d.values.pop()


def closing(d, x, name, h, axis, deep, back):
    """The line of a state; what it is called afterwards."""
    read = [v for v in d.values if v.rank == 1 and v.axes == (axis,)]
    a, b = d.r.choice(read[-3:]), d.r.choice(read)
    earlier = f"{name}[{axis}{'+' if back else '-'}{d.r.randrange(1, deep + 1)}]"
    pre = f"{d.matrix(h, a.shape[0])} @ {a.text}"
    if b is not a:
        pre += f" + {d.matrix(h, b.shape[0])} @ {b.text}"
    if d.chance(0.5):
        pre += f" + {d.matrix(h, h)} @ {earlier}"
    pre += f" + {d.param((h,))}" if d.chance(0.5) else ""
    value = d.r.choice(FORMS).format(p=pre, e=earlier, q=f"{d.matrix(h, a.shape[0])} @ {a.text}")
    T = axis.upper()
    if d.chance(0.5):
        where = f"{name}[{'>=' + T if back else '<0'}] = {d.start(replace(x, shape=(h,)))}"
    else:
        places = [f"{T}+{k}" if k else T for k in range(deep)] if back else [-k for k in range(1, deep + 1)]
        where = ", ".join(f"{name}[{k}] = {d.start(replace(x, shape=(h,)))}" for k in places)
    d.lines.append(f"{name}[{axis}] = {value} where {where}")
    return f"{name}[{axis}]"


def packed_gates(d):
    """All gates as one product, and their pieces."""
    x, h, g = stepwise(d, "t"), d.r.choice((1, 2, 3, 5)), d.r.choice((2, 3, 4))
    if x is None:
        return None
    z, c, n = d.fresh("z"), d.fresh("c"), d.fresh("n")
    pre = f"{d.param((g * h, x.shape[0]))} @ {x.text} + {d.param((g * h, h))} @ {n}[t-1]"
    d.lines.append(f"{z}[t] = {pre}" + (f" + {d.param((g * h,))}" if d.chance(0.6) else ""))
    gates = [f"{z}[t, {k * h}:{(k + 1) * h}]" for k in range(g)]
    d.r.shuffle(gates)
    into = f"sigmoid({gates[1]}) * " if g > 2 else "0.5 * "
    d.lines.append(f"{c}[t] = sigmoid({gates[0]}) * {c}[t-1] + {into}tanh({gates[-1]}) where {c}[-1] = {d.r.choice(STARTS)}")
    d.lines.append(f"{n}[t] = {f'sigmoid({gates[2]}) * ' if g > 3 else ''}tanh({c}[t]) where {n}[-1] = {d.r.choice(STARTS)}")
    d.add(replace(x, text=f"{z}[t]", shape=(g * h,)))
    d.add(replace(x, text=f"{c}[t]", shape=(h,)))
    return replace(x, text=f"{n}[t]", shape=(h,), power=0)


def attention(d):
    """From steps of t, or from a vector, to all steps of s, or of t itself."""
    other = "s" if "s" in d.time else "u"
    e, q = stepwise(d, "s" if other == "s" else "t"), stepwise(d, "t")
    if e is None or q is None or not d.ahead:
        return None
    if other == "u" and "time u over t" not in d.head:
        d.head.append("time u over t")
    a, w = d.r.choice((1, 2, 4)), d.fresh("w")
    if not e.name or not q.name:
        return None
    k, v, p = d.fresh("k"), d.fresh("v"), d.fresh("q")
    own = "s" if other == "s" else "t"
    d.lines += [f"{k}[{own}] = {d.matrix(a, e.shape[0])} @ {e.text}", f"{v}[{own}] = {d.matrix(3, e.shape[0])} @ {e.text}",
                f"{p}[t] = {d.matrix(a, q.shape[0])} @ {q.text}"]
    score = f"{p}[t] @ {k}[{other}]" if d.chance(0.6) else f"{d.param((a,))} @ tanh({p}[t] + {k}[{other}])"
    if other == "u" and d.chance(0.5):
        soft = d.r.choice((f"softmax[u <= t]({score})", f"softmax[u](select(u <= t, {score}, -inf))"))
    else:
        soft = f"softmax[{other}]({score})"
    order = f"t, {other}" if d.chance(0.7) else f"{other}, t"
    d.lines.append(f"{w}[{order}] = {soft}")
    return joined(f"(sum[{other}] {w}[{order}] * {v}[{other}])", q, shape=(3,), power=1)


def over_time(d):
    """A value without time of one at every step."""
    a = d.pick(wanted=lambda v: v.axes in (("t",), ("s",)))
    axis, f = a.axes[0], d.r.choice(REDUCTIONS)
    if a.name and d.chance(0.3) and d.ahead:
        return replace(a, text=f"{a.name}[{d.r.choice(('last', 'last', '0', axis.upper() + '-1'))}]", axes=())
    if f == "prod" or (f == "norm" and a.rank > 1):
        return replace(a, text=f"prod[{axis}](cos({a.text}))", axes=(), power=0)
    text = f"0.3 + {a.text}^2" if f == "norm" else a.text
    over = d.r.choice(RANGES) if axis == "t" and d.ranges and f in ("sum", "mean", "max", "logsumexp") else axis
    return replace(a, text=f"{f}[{over}]({text})", axes=())


def along_time(d):
    """Softmax over time, sums up to here, steps as numbers, what time has added up to."""
    a = d.pick(wanted=lambda v: v.axes == ("t",) and v.batch)
    if a is None:
        return None
    k = d.r.random()
    if k < 0.3 and d.ahead:
        return replace(a, text=f"{d.r.choice(('softmax', 'log_softmax'))}[t]({a.text})")
    if k < 0.6:
        form = d.r.choice(("({} * select(t > 1, 1, 0.5))", "({} * (t + 1) / T)", "(sin(t / 2) * {})", "select(t < 2, {}, 0.1)"))
        return replace(a, text=form.replace("{}", a.text))
    name = d.fresh("a")
    d.lines.append(f"{name}[t] = 0.7 * {name}[t-1] + 0.4 * {a.text} where {name}[-1] = {d.r.choice(STARTS)}")
    return replace(a, text=f"{name}[t]")


def grid(d):
    """A recurrence along one of two axes."""
    x = stepwise(d, "t")
    z = stepwise(d, "s")
    if x is None or z is None or not d.ahead:
        return None
    name, h = d.fresh("g"), d.r.choice((1, 2, 3))
    read = d.r.choice((f"{name}[s, t-1]", f"{name}[s-1, t]"))
    d.lines.append(f"{name}[s, t] = tanh({d.matrix(h, x.shape[0])} @ {x.text} + {d.matrix(h, z.shape[0])} @ {z.text} + "
                   f"{d.matrix(h, h)} @ {read}) where {name}[-1] = {d.r.choice(STARTS)}")
    return replace(x, text=f"({d.r.choice(('mean', 'sum', 'max'))}[s] {name}[s, t])", shape=(h,))


TIMED = TERMS | {library_cell: 7, own_cell: 9, packed_gates: 3, attention: 4, over_time: 6, along_time: 3, grid: 2}
ENCODED = TERMS | {lambda d: library_cell(d, "s"): 8, lambda d: own_cell(d, "s"): 8}
