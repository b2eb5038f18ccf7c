"""What random models compute, element by element and over features: each function writes one value, or None where none fits."""

from __future__ import annotations

import math
from dataclasses import replace

from zoo.random_drafts import NUMBERS, Value, times

REDUCTIONS = ("sum", "mean", "max", "min", "logsumexp", "norm", "var", "prod")


def joined(text, *values, shape=None, power=None):
    """What is computed of values."""
    return Value(text, values[0].shape if shape is None else shape, times(*values), any(v.batch for v in values),
                 max(v.power for v in values) if power is None else power)


def total(*dims):
    """The sum of sizes, as the language writes it."""
    return sum(dims) if all(isinstance(n, int) for n in dims) else " + ".join(map(str, dims))


def times_of(*dims):
    """Their product."""
    return math.prod(dims) if all(isinstance(n, int) for n in dims) else "*".join(f"({n})" for n in dims)


# ---------------------------------------------------------------- element by element

def activated(d):
    """An activation."""
    v = d.pick()
    return d.activation(v)


def combined(d):
    """Sums, differences and products of two, or of one with itself."""
    a = d.pick()
    b, op = d.like(a), d.r.choice("+-+-*")
    return joined(f"({a.text} {op} {b.text})", a, b, power=a.power + b.power if op == "*" else None)


def scaled(d):
    """By a number, a parameter, or a value that is one number."""
    a = d.pick()
    k = d.r.random()
    if k < 0.4:
        return replace(a, text=f"({d.r.choice(NUMBERS)} * {a.text})")
    if k < 0.7:
        return replace(a, text=f"({a.text} * {d.param(a.shape)} + {d.param(a.shape)})")
    one = d.pick(0)
    return joined(f"({one.text} * {a.text})", a, one, power=a.power + one.power) if one else None


def divided(d):
    """By what is positive."""
    a = d.pick()
    b = d.like(a)
    return joined(f"({a.text} / ({d.r.choice(('1 + {}^2', '0.5 + exp({} / 3)')).format(b.text)}))", a, b)


def positive(d):
    """Roots, logarithms and powers of what is positive."""
    a = d.pick()
    text = d.r.choice(("sqrt({}^2 + 0.3)", "log(1 + {}^2)", "log1p(softplus({}))", "(0.2 + {}^2)^0.5", "(1 + {}^2)^(-1)",
                       "exp(-{}^2)", "exp(-softplus({}))", "({}^2 / 3)", "({}^3 / 6)", "logaddexp({}, 0.3)", "expm1(-abs({}))"))
    return replace(a, text=text.format(a.text), power=a.power * 3 if "^3" in text else a.power * 2 if "/ 3" in text else a.power)


def chosen(d):
    """select, maxima and minima, comparisons as numbers."""
    a = d.pick()
    b, k = d.like(a), d.r.random()
    if k < 0.5:
        c = d.r.choice((f"{b.text} > 0.1", f"{a.text} < {b.text} + 0.2", f"{b.text} > -0.5 and {a.text} < 1.7",
                        f"not ({b.text} >= 0.3)", f"{b.text} > 0.9 or {b.text} < -0.9"))
        other = d.r.choice((f"0.3 * {b.text}", "0", f"{b.text}", "0.2"))
        return joined(f"select({c}, {a.text}, {other})", a, b)
    if k < 0.8:
        return joined(f"{d.r.choice(('max', 'min'))}({a.text}, {d.r.choice((b.text, '0.3', '-0.2'))})", a, b)
    return joined(f"select({b.text} > 0.25, {a.text}, -{a.text})", a, b)


def noisy(d):
    """Dropout and noise, in the cases that draw again by number of the draw."""
    a = d.pick(wanted=lambda v: v.batch)
    form = d.r.choice(("dropout({}, 0.3)", "gaussian_noise({}, 0.2)", "masking_noise({}, 0.25)", "({} * bernoulli(0.6, {}))"))
    return replace(a, text=form.replace("{}", a.text))


def stopped(d):
    """A value that is a constant to its gradient."""
    a = d.pick()
    return replace(a, text=f"stop({a.text})")


# ---------------------------------------------------------------- over features

def affine(d):
    """W @ x + b, x @ W, and an activation on most."""
    x = d.pick(1)
    rows = d.dim()
    text = f"{d.matrix(rows, x.shape[0])} @ {x.text}" if d.chance(0.8) else f"{x.text} @ {d.matrix(x.shape[0], rows)}"
    out = replace(x, text=f"({text} + {d.param((rows,))})" if d.chance(0.6) else f"({text})", shape=(rows,))
    return d.activation(out) if d.chance(0.7) else out


def inner(d):
    """The inner product of two vectors, or W @ x @ y."""
    a = d.pick(1)
    b = d.like(a)
    if d.chance(0.3):
        return joined(f"({d.matrix(b.shape[0], a.shape[0])} @ {a.text} @ {b.text})", a, b, shape=(), power=a.power + b.power)
    return joined(f"({a.text} @ {b.text})", a, b, shape=(), power=a.power + b.power)


def of_matrices(d):
    """Matrices: products, transposes, rows and columns, what stands on both sides."""
    m = d.pick(2)
    if m is None:
        return None
    (p, q), k = m.shape, d.r.random()
    if k < 0.2:
        v = d.pick(1, lambda u: u.shape == (q,))
        return joined(f"({m.text} @ {v.text})", m, v, shape=(p,), power=m.power + v.power) if v else \
            replace(m, text=f"({m.text} @ {d.param((q,))})", shape=(p,))
    if k < 0.4:
        r = d.dim()
        return replace(m, text=f"({d.matrix(r, p)} @ {m.text})", shape=(r, q))
    if k < 0.6:
        other = d.pick(2, lambda u: u.shape == m.shape) or m
        return joined(f"({m.text} @ {other.text}.T)", m, other, shape=(p, p), power=m.power + other.power)
    if k < 0.75:
        return replace(m, text=f"{m.text}.T", shape=(q, p))
    if k < 0.85:
        both = replace(m, text=f"({m.text} + {m.text}.T)")
        return both if p == q else replace(m, text=f"transpose({m.text}, 1, 0)", shape=(q, p))
    return replace(m, text=f"flatten({m.text})", shape=(times_of(p, q),))


def reduced(d):
    """One number of all features."""
    a = d.pick(wanted=lambda v: v.rank > 0)
    f = d.r.choice(REDUCTIONS) if a else None
    if not a or (f == "prod" and a.rank > 1):
        return None
    x = f"0.5 + {a.text}^2" if f == "norm" else f"cos({a.text})" if f == "prod" else a.text
    return replace(a, text=f"{f}({x})", shape=(), power=0 if f == "prod" else a.power)


def over_batch(d):
    """Statistics over the batch."""
    a = d.pick(wanted=lambda v: v.batch and v.kind == "real")
    if a is None or (a.axes and a.axes != ("t",)):
        return None
    where = "batch, t" if a.axes and not d.loop and d.chance(0.4) else "batch"
    form = d.r.choice(("({} - mean[!]({}))", "({} / sqrt(mean[!]({}^2) + 0.3))", "({} - max[!]({}))",
                       "({} / (0.5 + var[!]({})))"))
    return replace(a, text=form.replace("!", where).replace("{}", a.text))


def normalised(d):
    """Softmax, norms, layer and batch normalisation."""
    a = d.pick(1)
    k, wide = d.r.random(), d.n(a.shape[0]) > 1
    if k < 0.3:
        f = d.r.choice(("softmax", "softmax", "log_softmax"))
        return replace(a, text=f"{f}({a.text})", power=0 if f == "softmax" else a.power)
    if k < 0.5 and d.n(a.shape[0]) > 2:
        return replace(a, text=f"layer_norm({a.text})", power=1)
    if k < 0.65 and a.batch and not a.axes and not d.inner:
        return replace(a, text=f"{d.r.choice(('batch_norm', 'batch_norm_average'))}({a.text})", power=1)
    if k < 0.85:
        return replace(a, text=f"({a.text} / sqrt(sum({a.text}^2) + 0.2))", power=0)
    return replace(a, text=f"({a.text} * max({a.text}))" if wide else f"({a.text} - mean({a.text}))", power=2 * a.power)


# ---------------------------------------------------------------- places

def sliced(d):
    """A part of a vector, or rows of a matrix; one element."""
    a = d.pick(wanted=lambda v: v.rank in (1, 2) and v.name and not isinstance(v.shape[0], str) and v.shape[0] > 1)
    if a is None:
        return None
    n, inside = a.shape[0], a.text[:-1] + ", " if a.axes else a.text + "["
    lo = d.r.randrange(n)
    if d.chance(0.2) and a.rank == 1:
        return replace(a, text=f"{inside}{lo}]", shape=())
    hi = d.r.randrange(lo + 1, n + 1)
    text = f"{lo or ''}:{hi if hi < n else ''}" if d.chance(0.3) and (lo or hi < n) else f"{lo}:{hi}"
    return replace(a, text=f"{inside}{text}]", shape=(hi - lo, *a.shape[1:]))


def concatenated(d):
    """Vectors side by side, also one twice, also a piece of one."""
    a = d.pick(1)
    parts = [a, *(a if d.chance(0.25) else d.pick(1) for _ in range(d.r.choice((1, 1, 2))))]
    if any(p.text.startswith("[") for p in parts):
        return None
    whole = total(*(p.shape[0] for p in parts))
    return joined(f"[{', '.join(p.text for p in parts)}]", *parts, shape=(whole,)) if d.n(whole) < 40 else None


def reshaped(d):
    """A vector as a matrix of two rows, or from its end."""
    a = d.pick(1, lambda v: isinstance(v.shape[0], int) and v.shape[0] % 2 == 0)
    if a is None:
        return None
    n = a.shape[0]
    return replace(a, text=f"reshape({a.text}, 2, {n // 2})", shape=(2, n // 2)) if d.chance(0.7) else \
        replace(a, text=f"flip({a.text}, 0)")


def padded(d):
    """Zeros on both sides."""
    a = d.pick(1, lambda v: isinstance(v.shape[0], int))
    if a is None:
        return None
    lo, more = d.r.randrange(3), d.r.randrange(3)
    return replace(a, text=f"pad({a.text}, 0, {lo}, {a.shape[0] + lo + more})", shape=(a.shape[0] + lo + more,))


def outer(d):
    """Two vectors side by side in a matrix."""
    a, b = d.pick(1), d.pick(1)
    if a is None or a.axes != b.axes or a.batch != b.batch or d.n(a.shape[0]) * d.n(b.shape[0]) > 60:
        return None
    return joined(f'contract("i,j->ij", {a.text}, {b.text})', a, b, shape=(a.shape[0], b.shape[0]), power=a.power + b.power)


# ---------------------------------------------------------------- classes

def looked_up(d):
    """A row of a table, or one number of each class, by an input of classes."""
    c = [v for v in d.values if v.kind == "class"]
    if not c:
        return None
    v, e = d.r.choice(c), d.dim()
    if d.chance(0.3):
        return replace(v, text=f"({d.matrix(e, v.shape[0])} @ onehot({v.text}))", shape=(e,), kind="real")
    if d.chance(0.2):
        x = d.pick(1, lambda u: u.shape == v.shape)
        return joined(f"({x.text} @ onehot({v.text}))", x, v, shape=()) if x else None
    fit = [m for m, s in d.matrices if s[0] == v.shape[0]]
    name = d.r.choice(fit) if fit and d.chance(0.5) else d.param((v.shape[0], e))
    width = next(s for m, s in d.matrices if m == name)[1]
    return replace(v, text=f"{name}[{v.text}]", shape=(width,), kind="real")


def flagged(d):
    """What a yes or no switches."""
    c = [v for v in d.values if v.kind == "bool"]
    a = d.pick()
    if not c:
        return None
    v = d.r.choice(c)
    return joined(f"select({v.text}, {a.text}, {d.r.choice(('0', '0.5 * ' + a.text))})", a, v)


TERMS = {affine: 9, activated: 5, combined: 7, scaled: 4, divided: 2, positive: 3, chosen: 3, noisy: 2, stopped: 0.5, inner: 2,
         of_matrices: 4, reduced: 3, over_batch: 2, normalised: 5, sliced: 5, concatenated: 5, reshaped: 1.5, padded: 0.7,
         outer: 1.5, looked_up: 3, flagged: 1}


def term(d, table=None):
    """One more value of the table, by its weights."""
    table = table or TERMS
    while (v := d.r.choices([*table], [*table.values()])[0](d)) is None:
        pass
    return d.settled(v)
