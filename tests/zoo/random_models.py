"""Random models, as texts of the language: `text(seed)` is one, and always the same one.

What may stand in a model and how often stands in tables: `random_terms` (features), `random_time`, `random_images`, and here the
inputs, the ends (losses, penalties, metrics, outputs) and the training line. Which of these agree with what: `random_checks`.
"""

from __future__ import annotations

from dataclasses import replace

from zoo.random_drafts import Draft, Value, draft
from zoo.random_images import IMAGES, flattened
from zoo.random_terms import term
from zoo.random_time import ENCODED, TIMED, over_time

OPTIMISERS = ("adam(lr = 0.01)", "adam(lr = 0.01)", "sgd(lr = 0.05)", "momentum(lr = 0.02, momentum = 0.9)", "rmsprop(lr = 0.01)",
              "nesterov(lr = 0.02, momentum = 0.8)", "adagrad(lr = 0.05)", "adamw(lr = 0.01, weight_decay = 0.1)")
ERRORS = ("squares({}, {})", "mean(({} - {})^2)", "sum(abs({} - {}))", "log(1 + sum(({} - {})^2))")
SIZES = ("sum({}^2)", "mean(tanh({}))", "max({})", "logsumexp({})", "var({})", "norm(0.3 + {}^2)", "sum(sin({}))")
SURGERY = ("clip(d_{}, -0.05, 0.05)", "0.5 * d_{}", "d_{} / (1 + norm(1 + d_{}^2))")
FIELDS = ("tanh({})", "{} * sigmoid(a * {})", "select({} > a, {}, a * {})", "max({}, a) + 0.1 * {}", "{} / (1 + {}^2) + a")


# ---------------------------------------------------------------- inputs

def given(d, shape, axes=(), kind="real", target=False):
    """An input, or a target, as a value."""
    name = d.fresh("y" if target else "x")
    inside = ", ".join(map(str, (*axes, *shape)))
    told = {"real": "", "class": " : class({})", "bool": " : bool", "unit": " : unit", "binary": " : binary"}[kind]
    if kind == "class":
        told, inside = told.format(shape[0]), ", ".join(axes)
    d.head.append(f"{'target' if target else 'input'} {name}{f'[{inside}]' if inside else ''}{told}")
    index = f"{name}[{', '.join(axes)}]" if axes else name
    return Value(index, tuple(shape), tuple(axes), kind="real" if kind in ("unit", "binary") else kind)


def bounded(d, v):
    """Boundaries of an input, and the steps that may be read of it then."""
    if v.kind == "class":
        d.head[-1] += f" where {v.name}[-1] = {d.r.choice(('0', '1'))}"
        d.add(replace(v, text=f"{v.name}[t-1]"))
        return
    before, after = d.chance(0.7), d.ahead and d.chance(0.5)
    where = [f"{v.name}[<0] = {d.r.choice(('0', '0.2'))}"] * before + [f"{v.name}[>=T] = 0"] * after
    if where:
        d.head[-1] += " where " + ", ".join(where)
    for by in ["-1", "-2"] * before + ["+1"] * after:
        d.add(replace(v, text=v.text.replace("[t", f"[t{by}")))


def inputs(d, axes=()):
    """One or two inputs of any kind, a flag rarely; at least one vector can be read afterwards."""
    for _ in range(d.r.choice((1, 1, 2))):
        kind, shape = d.r.choices(("real", "class", "unit", "scalar", "matrix"), (7, 3, 1, 1, 2))[0], (d.dim(),)
        if kind == "matrix":
            shape = (d.dim(), d.dim())
        if kind in ("scalar", "matrix"):
            kind, shape = "real", shape if kind == "matrix" else ()
        if kind == "class":
            shape = (d.r.choice((2, 3, 5)),)
        v = d.add(given(d, shape, axes, kind))
        if axes == ("t",) and kind in ("real", "class") and d.chance(0.2):
            bounded(d, v)
    if d.chance(0.1):
        d.add(given(d, (), axes, "bool"))
    if not d.pick(1):
        classes = [v for v in d.values if v.kind == "class"]
        d.settled(row(d, classes[0]) if classes else given(d, (d.dim(),), axes))


def row(d, c):
    """The row of a table for a class."""
    width = d.dim()
    return replace(c, text=f"{d.param((c.shape[0], width))}[{c.text}]", shape=(width,), kind="real")


# ---------------------------------------------------------------- fragments, functions, repetitions

def fragment(d):
    """A fragment of the model's own, called once or twice, its parameters shared or not."""
    x = d.pick(1, lambda v: v.batch)
    f, inside = d.fresh("f"), Draft(d.r, {"N": d.n(x.shape[0])})
    inside.inner, inside.loop, inside.count, axes = True, True, 0, x.axes
    inside.add(Value("x", ("N",), ()))
    for _ in range(d.r.choice((1, 2, 3))):
        term(inside)
    y = inside.values[-1]
    body = [f"    {line}" for line in (*inside.params, *inside.lines, f"    y = {y.text}".strip())]
    d.head += [f"fragment {f}(x[N]) -> y:", *body]
    shape = tuple(inside.n(n) for n in y.shape)
    form = d.r.random()
    if form < 0.3:
        one = d.fresh("c")
        d.lines.append(f"{one} = {f}()")
        f = one
    for v in (x, d.like(x)) if form < 0.6 and d.like(x).axes == axes else (x,):
        d.equation(replace(v, text=f"{f}({v.text})", shape=shape, power=y.power))


def function(d):
    """A function of numbers."""
    name, v = d.fresh("f"), d.pick()
    d.head.append(f"def {name}(x, a = {d.r.choice(('0.5', '0.2'))}) = {d.r.choice(FIELDS).replace('{}', 'x')}")
    d.settled(replace(v, text=f"{name}({v.text}{d.r.choice(('', ', 0.3'))})"))


def repeated(d):
    """The same layer several times, with parameters of each or shared."""
    v = d.pick(1, lambda u: u.batch and len(u.axes) < 2)
    g, n, index = d.fresh("g"), v.shape[0], f", {v.axes[0]}" if v.axes else ""
    W, shared, below = d.fresh("V"), d.chance(0.5), f"{g}[l-1{index}]"
    d.lines.append(f"{g}[1{index}] = {v.text}")
    if shared:
        d.params.append(f"param {W}[{n}, {n}] ~ normal(0.5)")
    d.lines += ["repeat l in 2..3:", *([] if shared else [f"    param {W}[l, {n}, {n}] ~ normal(0.5)"]),
                f"    {g}[l{index}] = tanh({W}{'' if shared else '[l]'} @ {below}){d.r.choice(('', f' + {below}'))}"]
    d.equation(replace(v, text=f"{g}[3{index}]", power=1))


def stored(d):
    """A statistic of the model's own, read from what is stored in evaluation."""
    v = d.pick(1, lambda u: u.batch and u.name and not u.axes)
    if v is None:
        return
    name = d.fresh("q")
    d.lines += [f"m{name} = mean[batch]({d.r.choice(('{}', '{}^2', 'tanh({})')).replace('{}', v.text)})",
                f"stat {name}[{v.shape[0]}] = 0.5 <- 0.8 * {name} + 0.2 * m{name}"]
    d.equation(replace(v, text=f"({v.text} / (1 + m{name}^2))"))


def alone(d):
    """A sequence that no input has, of no example's own."""
    if "t" not in d.time or d.ahead is False:
        return
    name, h = d.fresh("o"), d.dim()
    start = d.start(Value("", (h,)))
    d.lines.append(f"{name}[t] = tanh({d.matrix(h, h)} @ {name}[t-1] + {d.param((h,))}) where {name}[-1] = {start}")
    d.add(Value(f"{name}[t]", (h,), ("t",), False, 0))
    v = d.pick(1, lambda u: u.shape == (h,) and u.batch)
    if v is not None:
        d.equation(Value(f"({v.text} * {name}[t])", (h,), tuple(dict.fromkeys((*v.axes, "t")))))


def extras(d):
    """What models have beside equations, each rarely."""
    for build, p in ((fragment, 0.15), (function, 0.12), (repeated, 0.1), (stored, 0.1), (alone, 0.1)):
        if d.chance(p):
            build(d)


# ---------------------------------------------------------------- kinds of models

def dense(d):
    """Vectors, matrices and classes."""
    inputs(d)
    for _ in range(d.r.randrange(2, 10)):
        term(d)
    extras(d)


def images(d):
    """An image or a series, then the vector that is left of it."""
    sizes = d.r.choice(((6, 6), (8, 5), (7, 9), (4, 4), (1, 5), (9,), (12,)))
    axes = ("t",) if d.chance(0.1) else ()
    d.time = axes
    d.add(given(d, (d.r.choice((1, 1, 2, 3, 4)), *sizes), axes))
    for _ in range(d.r.randrange(2, 9)):
        term(d, IMAGES)
    v = flattened(d)
    if v is not None:
        d.settled(v)
    for _ in range(d.r.randrange(0, 4)):
        term(d)
    extras(d)


def sequences(d):
    """Inputs along t, and what is computed along it."""
    d.time = ("t",)
    inputs(d, ("t",))
    if d.chance(0.15):
        d.add(given(d, (d.dim(),)))
    if d.chance(0.2) and d.ahead:
        d.head.append("lengths t")
    for _ in range(d.r.randrange(2, 9)):
        term(d, TIMED)
    extras(d)


def pairs(d):
    """Two sequences, of other lengths each."""
    d.time, d.ahead = ("s", "t"), True
    inputs(d, ("s",))
    if d.chance(0.1):
        d.add(given(d, (d.dim(),), ("s", "t")))
    for _ in range(d.r.randrange(1, 4)):
        term(d, ENCODED)
    inputs(d, ("t",))
    if d.chance(0.25):
        d.head += [f"lengths {a}" for a in d.r.sample(("s", "t"), d.r.choice((1, 2)))]
    for _ in range(d.r.randrange(3, 9)):
        term(d, TIMED)


KINDS = {dense: 4, images: 3, sequences: 5, pairs: 2}


# ---------------------------------------------------------------- ends

def averaged(d, v, text, bare=False):
    """A term of the loss, at every step of its axes, as one number."""
    inside = text if bare else f"({text})"
    if not v.axes:
        return f"mean[batch] {inside}" if v.batch else text
    if len(v.axes) > 1 or not v.batch:
        return f"mean[{', '.join((*['batch'] * v.batch, *v.axes))}] {inside}"
    axis = v.axes[0]
    forms = [f"mean[batch, {axis}]"] * 2 + [f"mean[batch] sum[{axis}]", f"mean[batch] mean[{axis}]", f"sum[{axis}] mean[batch]"]
    if d.ranges and axis == "t":
        forms += ["mean[batch, t < T-1]", "mean[batch] sum[t >= 1]", "mean[batch, t >= 1]"]
    return f"{d.r.choice(forms)} {inside}"


def loss(d):
    """One term: against a target, or of the values alone."""
    v, k = d.pick(wanted=lambda u: u.name) or d.pick(), d.r.random()
    weight = d.r.choice(("", "", "0.3 * ", "2 * "))
    if v.rank == 1 and d.n(v.shape[0]) > 1 and k < 0.3 and v.batch:
        y = given(d, v.shape, v.axes, "class", True)
        return weight + averaged(d, v, f"cross_entropy(softmax({v.text}), {y.text})", True)
    if k < 0.6 and v.batch:
        y = given(d, v.shape, v.axes, target=True)
        form = d.r.choice(ERRORS) if v.rank else "({} - {})^2"
        return weight + averaged(d, v, form.format(v.text, y.text), "squares" in form)
    if k < 0.7 and v.batch and v.rank < 2:
        y = given(d, v.shape, v.axes, "unit" if d.chance(0.5) else "binary", True)
        return weight + averaged(d, v, f"binary_cross_entropy(sigmoid({v.text}), {y.text})", True)
    text = d.r.choice(SIZES if v.rank else ("{}^2",)).replace("{}", v.text)
    if k > 0.93 and v.batch:
        where = ", ".join(("batch", *v.axes))
        return f"{weight}sum((mean[{where}]({v.text}))^2)" if v.rank else f"{weight}(mean[{where}]({v.text}))^2"
    return weight + averaged(d, v, text)


def ends(d):
    """Loss, penalties, outputs and metrics."""
    out = ["loss = " + " + ".join(loss(d) for _ in range(d.r.choice((1, 1, 2, 3))))]
    names = [p.split()[1].split("[")[0] for p in d.params]
    for _ in range(d.r.choice((0, 0, 1, 2)) if names else 0):
        which = d.r.sample(names, min(len(names), d.r.choice((1, 2))))
        out.append(f"penalty {d.r.choice(('l2(0.01)', 'l1(0.01)'))} on {', '.join(which)}")
    lines = [v.name for v in d.values if v.name and v.name[0] not in "xyc"]
    if lines and d.chance(0.6):
        out.append(f"output {', '.join(dict.fromkeys(d.r.choices(lines, k=2)))}")
    v = d.pick(wanted=lambda u: u.rank == 1 and u.batch and len(u.axes) < 2)
    if v and d.chance(0.4):
        form = d.r.choice(("max(abs({}))", "real(argmax({}) == 0)")).format(v.text)
        out.append(f"metric far = mean[{', '.join(('batch', *v.axes))}] {form}")
    if d.chance(0.15) and (found := [v for v in d.values if v.name and v.name[0] == "h" and v.batch]):
        v = d.r.choice(found)
        out.append(f"on_backward {v.text}: {d.r.choice(SURGERY if v.rank else SURGERY[:2]).replace('{}', v.name)}")
    return [*out, training(d, names)]


def training(d, names):
    """The line that says how it is trained."""
    line = f"train {d.r.choice(OPTIMISERS)}"
    if d.chance(0.3):
        line += ", clip_norm = 0.5"
    if len(names) > 1 and d.chance(0.2):
        line += f", {d.r.choice((f'freeze {names[0]}', f'rate {names[0]} = 0.1'))}"
    matrices = [m for m, _ in d.matrices]
    if matrices and d.chance(0.1):
        line += f", max_norm(1.5) on {d.r.choice(matrices)}"
    if d.time == ("t",) and d.chance(0.5) and d.kind is sequences:
        line += ", truncate = 3" if not d.ahead else d.r.choice(("", ", checkpoint = sqrt", ", checkpoint = every 2"))
    return line


def text(seed):
    """A model."""
    d = draft(seed)
    d.kind = d.r.choices([*KINDS], [*KINDS.values()])[0]
    d.ahead, d.ranges = d.chance(0.85), d.chance(0.5)
    d.kind(d)
    if d.chance(0.3) and d.time and (v := over_time(d)) is not None:
        d.settled(v)
    last = ends(d)
    if not any("param" in line for line in (*d.params, *d.head)):
        d.params.append(f"param {d.fresh('b')} = 0.1")
        last.insert(0, f"penalty l2(0.1) on b{d.count}")
    sizes = f"({', '.join(f'{k} = {n}' for k, n in d.sizes.items())})" if d.sizes else ""
    return "\n".join((f"model m{sizes}", *d.head, *d.params, *d.lines, *last)) + "\n"
