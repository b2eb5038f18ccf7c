"""Rules on reductions, contractions, moves and delays: the second table of `simplify`."""

from __future__ import annotations

from ..algebra import Rule, number, structure
from ..graph import (
    At,
    Broadcast,
    Concat,
    Const,
    Contract,
    Expr,
    Extent,
    Map,
    OneHot,
    Pad,
    Put,
    Reduce,
    Shift,
    Slice,
    Transpose,
    broadcast,
    length,
    order_axes,
)
from ..sizes import product


@structure("sum(broadcast(x)) -> count*x", "Reduce")
def sum_of_repeats(e: Expr) -> Expr | None:
    """What is repeated along a summed dimension is multiplied; max and min just drop it."""
    assert isinstance(e, Reduce)
    a = e.args[0]
    if not isinstance(a, Broadcast) or e.kind not in ("sum", "max", "min"):
        return None
    inner = a.args[0]
    new = tuple(o for o in e.over if (o not in inner.axes if isinstance(o, str) else o not in a.places))
    if not new:
        return None
    n = product(tuple(length(o) if isinstance(o, str) else a.shape[o] for o in new))
    if e.kind != "sum" and not (n.value or 0) > 0 and any(isinstance(o, int) for o in new):
        return None
    kept = [k for k in range(len(a.shape)) if k not in new]
    narrow = Broadcast(inner, order_axes({*a.axes} - {*new}), tuple(a.shape[k] for k in kept),
                       tuple(kept.index(p) for p in a.places))
    rest = tuple(o if isinstance(o, str) else kept.index(o) for o in e.over if o not in new)
    reduced = Reduce(e.kind, narrow, rest)
    if e.kind != "sum":
        return reduced
    return Map("mul", (broadcast(Extent(n), reduced.axes, reduced.shape), reduced))


@structure("sum(-x) -> -sum(x)", "Reduce")
def sum_of_negative(e: Expr) -> Expr | None:
    """The sign goes to the smaller array."""
    assert isinstance(e, Reduce)
    a = e.args[0]
    if e.kind == "sum" and isinstance(a, Map) and a.f == "neg":
        return Map("neg", (Reduce("sum", a.args[0], e.over),))
    return None


@structure("pick(a - broadcast(b), i) -> pick(a, i) - b", "Contract")
def pick_of_difference(e: Expr) -> Expr | None:
    """One element of a difference whose second operand is the same for all: log_softmax picked is s[y] - logsumexp(s)."""
    assert isinstance(e, Contract)
    a, hot, la, lh = *e.args, e.la, e.lb
    if isinstance(a, OneHot):
        a, hot, la, lh = hot, a, lh, la
    if not isinstance(hot, OneHot) or not isinstance(a, Map) or a.f != "sub" or la != lh or len(la) != 1 or e.lo \
            or not e.axes == a.axes == hot.axes:
        return None
    b = a.args[1]
    if not isinstance(b, Broadcast) or b.places:
        return None
    whole = Broadcast(b.args[0], e.axes, (), ())
    return Map("sub", (Contract(a.args[0], hot, la, lh, (), e.axes), whole))


def _kept(e: Reduce) -> tuple[int, ...]:
    """The features of the operand that a reduction leaves."""
    return tuple(k for k in range(len(e.args[0].shape)) if k not in e.over)


@structure("sum(broadcast(x)) -> broadcast(sum(x))", "Reduce")
def reduce_small(e: Expr) -> Expr | None:
    """A reduction is computed before its operand is repeated along other dimensions."""
    assert isinstance(e, Reduce)
    a = e.args[0]
    if not isinstance(a, Broadcast) or e.kind == "argmax":
        return None
    inner, kept = a.args[0], _kept(e)
    if any(o not in (inner.axes if isinstance(o, str) else a.places) for o in e.over):
        return None
    over = tuple(o if isinstance(o, str) else a.places.index(o) for o in e.over)
    return Broadcast(Reduce(e.kind, inner, over), e.axes, e.shape, tuple(kept.index(p) for p in a.places if p in kept))


@structure("sum(c*x) -> c*sum(x)", "Reduce")
def constant_along_sum(e: Expr) -> Expr | None:
    """A factor that only repeats along what is summed leaves the sum."""
    assert isinstance(e, Reduce)
    match e.args[0]:
        case Map("mul" | "div" as f, (a, b)) if e.kind == "sum":
            if (outer := _outside(e, b)) is not None:
                return Map(f, (e.with_args((a,)), outer))
            if f == "mul" and (outer := _outside(e, a)) is not None:
                return Map(f, (outer, e.with_args((b,))))
    return None


def _outside(e: Reduce, a: Expr) -> Expr | None:
    """An operand of the summand that is the same all along the sum, without what is summed. Where scalars go is not decided
    here but in `scale`."""
    if not isinstance(a, Broadcast) or a.args[0].rank == 0:
        return None
    inner, kept = a.args[0], _kept(e)
    if any(o in (inner.axes if isinstance(o, str) else a.places) for o in e.over):
        return None
    return Broadcast(inner, e.axes, e.shape, tuple(kept.index(p) for p in a.places))


@structure("sum(onehot(i)) -> 1", "Reduce")
def sum_of_onehot(e: Expr) -> Expr | None:
    """Exactly one element of a one-hot vector is 1."""
    assert isinstance(e, Reduce)
    hot = e.args[0]
    if not isinstance(hot, OneHot) or e.kind != "sum" or len(hot.shape) - 1 not in e.over:
        return None
    rest = tuple(o for o in e.over if o != len(hot.shape) - 1)
    return Reduce("sum", Broadcast(Const(1), hot.axes, hot.shape[:-1], ()), rest)


@structure("sum(sum(x)) -> sum(x)", "Reduce")
def nested_reduction(e: Expr) -> Expr | None:
    """Two reductions of one kind are one over both index sets."""
    assert isinstance(e, Reduce)
    a = e.args[0]
    if not isinstance(a, Reduce) or a.kind != e.kind or e.kind not in ("sum", "max", "min", "prod", "logsumexp", "norm"):
        return None
    base = a.args[0]
    kept = [k for k in range(len(base.shape)) if k not in a.over]
    outer = tuple(o if isinstance(o, str) else kept[o] for o in e.over)
    return Reduce(e.kind, base, (*a.over, *outer))


@structure("contract without a sum -> a*b", "Contract")
def outer_product(e: Expr) -> Expr | None:
    """A contraction that sums nothing is an elementwise product of repeats."""
    assert isinstance(e, Contract)
    a, b = e.args
    if not {*e.la, *e.lb} <= {*e.lo} or not {*a.axes, *b.axes} <= {*e.axes}:
        return None

    def spread(x: Expr, labels: tuple[int, ...]) -> Expr:
        order = sorted(range(len(labels)), key=lambda k: e.lo.index(labels[k]))
        places = tuple(sorted(e.lo.index(k) for k in labels))
        return Broadcast(Transpose(x, tuple(order)), e.axes, e.shape, places)

    return Map("mul", (spread(a, e.la), spread(b, e.lb)))


@structure("contract(broadcast(a), b) -> contract(a, sum(b))", "Contract")
def contract_of_repeats(e: Expr) -> Expr | None:
    """A dimension along which one operand only repeats is summed in the other operand first, or left out."""
    assert isinstance(e, Contract)
    for k in (0, 1):
        wide, other = e.args[k], e.args[1 - k]
        own, others = (e.la, e.lb) if k == 0 else (e.lb, e.la)
        if not isinstance(wide, Broadcast):
            continue
        inner = wide.args[0]
        axes = {x for x in wide.axes if x not in inner.axes and x in other.axes}
        labels = {own[p] for p in range(len(own)) if p not in wide.places and own[p] in others}
        if not axes and not labels:
            continue
        kept = [p for p in range(len(own)) if own[p] not in labels]
        narrow = Broadcast(inner, order_axes({*wide.axes} - axes), tuple(wide.shape[p] for p in kept),
                           tuple(kept.index(p) for p in wide.places))
        summed = Reduce("sum", other, (*(x for x in wide.axes if x in axes and x not in e.axes),
                                       *(p for p, m in enumerate(others) if m in labels and m not in e.lo)))
        left = tuple(own[p] for p in kept)
        right = tuple(m for m in others if m not in labels or m in e.lo)
        if k == 0:
            return Contract(narrow, summed, left, right, e.lo, e.axes)
        return Contract(summed, narrow, right, left, e.lo, e.axes)
    return None


@structure("contract(a, broadcast(b)) -> broadcast(contract(a, b))", "Contract")
def product_of_repeats(e: Expr) -> Expr | None:
    """What one operand repeats along an axis that the other does not have is multiplied once, then repeated."""
    assert isinstance(e, Contract)
    for k in (0, 1):
        wide, other = e.args[k], e.args[1 - k]
        if not isinstance(wide, Broadcast):
            continue
        inner = wide.args[0]
        axes = {x for x in wide.axes if x in e.axes and x not in inner.axes and x not in other.axes}
        if axes:
            narrow = Broadcast(inner, order_axes({*wide.axes} - axes), wide.shape, wide.places)
            pair = (narrow, other) if k == 0 else (other, narrow)
            once = Contract(*pair, e.la, e.lb, e.lo, order_axes({*e.axes} - axes))
            return Broadcast(once, e.axes, e.shape, tuple(range(len(e.shape))))
    return None


@structure("c*(broadcast(k*x)*y) -> broadcast(c*k*x)*y", "mul")
def number_to_factor(e: Expr) -> Expr | None:
    """A number before a product joins the factor of an operand that is repeated: one number, applied to the small array."""
    for c, p in (e.args, e.args[::-1]):
        factor = number(c)
        if factor is None or not (isinstance(p, Map) and p.f == "mul"):
            continue
        for small, y in (p.args, p.args[::-1]):
            if isinstance(small, Broadcast) and isinstance(x := small.args[0], Map) and x.dims and x.f in ("mul", "div") \
                    and x.args[1].dims and _repeats_number(x.args[1]):
                return Map("mul", (small.with_args((Map("mul", (x, broadcast(Const(factor), x.axes, x.shape))),)), y))
    return None


def _repeats_number(e: Expr) -> bool:
    return isinstance(e, Broadcast) and not e.args[0].dims


@structure("move(broadcast(x)) -> broadcast(x)", "Slice", "Transpose", "At", "Pad")
def move_of_repeats(e: Expr) -> Expr | None:
    """A rearrangement of repeated dimensions is another repetition."""
    a = e.args[0]
    if not isinstance(a, Broadcast):
        return None
    inner = a.args[0]
    match e:
        case Slice():
            if e.at not in a.places:
                return Broadcast(inner, a.axes, e.shape, a.places)
            return Broadcast(Slice(inner, a.places.index(e.at), e.lo, e.hi), a.axes, e.shape, a.places)
        case Transpose():
            places = tuple(e.perm.index(p) for p in a.places)
            order = tuple(sorted(range(len(places)), key=places.__getitem__))
            return Broadcast(Transpose(inner, order), a.axes, e.shape, tuple(sorted(places)))
        case At():
            if e.axis not in inner.axes:
                return Broadcast(inner, e.axes, e.shape, a.places)
            return Broadcast(At(inner, e.axis, e.i), e.axes, e.shape, a.places)
        case Pad() if number(a) == 0:
            return Broadcast(inner, e.axes, e.shape, ())
    return None


@structure("reshape(broadcast(c)) -> broadcast(c)", "Reshape")
def reshape_of_scalar(e: Expr) -> Expr | None:
    """One number repeated has any shape."""
    inner = e.args[0]
    while isinstance(inner, Broadcast):
        inner = inner.args[0]
    return None if inner.shape else Broadcast(inner, e.axes, e.shape, ())


@structure("slice(concat(a, b)) -> a", "Slice")
def slice_of_parts(e: Expr) -> Expr | None:
    """A slice inside one part of a concatenation, or what a padding surrounds."""
    assert isinstance(e, Slice)
    a = e.args[0]
    if isinstance(a, Pad) and a.at == e.at:
        start, width = e.lo - a.lo, a.args[0].shape[a.at]
        if start == 0 and e.hi - e.lo == width:
            return a.args[0]
    if isinstance(a, Concat) and a.at == e.at:
        for part, start in zip(a.args, a.offsets, strict=True):
            lo, hi = e.lo - start, e.hi - start
            if lo == 0 and hi == part.shape[a.at]:
                return part
            if lo.value is not None and hi.value is not None and lo.value >= 0:
                room = (part.shape[a.at] - hi).value
                if room is not None and room >= 0:
                    return Slice(part, a.at, lo, hi)
    return None


@structure("shift(c, c) -> c", "Shift")
def delay_of_constant(e: Expr) -> Expr | None:
    """A delay of a number whose boundary values are the same number."""
    a = e.args[0]
    value = number(a)
    return a if value is not None and all(number(i) == value for i in e.args[1:]) else None


@structure("one step of a delay", "At")
def step_of_delay(e: Expr) -> Expr | None:
    """The first steps of a delay are its boundary values; so are the last ones of a read ahead; Put's own step is g."""
    assert isinstance(e, At)
    a = e.args[0]
    if isinstance(a, Put) and (a.axis, a.i) == (e.axis, e.i):
        return a.args[0]
    if not isinstance(a, Shift) or a.axis != e.axis:
        return None
    there = e.i + a.s
    if a.s < 0 <= e.i:
        return a.inits[e.i] if there < 0 else At(a.args[0], e.axis, there)
    if a.s > 0 > e.i:
        return a.inits[there] if there >= 0 else At(a.args[0], e.axis, there)
    return None


@structure("w*p - w*onehot(y) -> w*(p - onehot(y))", "sub")
def weighted_difference(e: Expr) -> Expr | None:
    """The gradient of a weighted cross-entropy: one element of a row is changed, then the row is weighted once."""
    weighted, hot = e.args
    match weighted, hot:
        case Map("mul", (a, b)), Map("mul", (c, d)):
            for w, p in ((a, b), (b, a)):
                for v, y in ((c, d), (d, c)):
                    if w is v and isinstance(w, Broadcast) and isinstance(y, OneHot):
                        return w * (p - y)
    return None


STRUCTURE_RULES: tuple[Rule, ...] = (
    sum_of_negative,                                             # sum(-x) -> -sum(x)
    sum_of_onehot,                                               # sum(onehot(i)) -> 1
    pick_of_difference,                                          # log_softmax(s)[y] -> s[y] - logsumexp(s)
    sum_of_repeats,                                              # sum(broadcast(x)) -> count*x
    reduce_small,                                                # sum(broadcast(x)) -> broadcast(sum(x))
    constant_along_sum,                                          # sum(c*x) -> c*sum(x)
    nested_reduction,                                            # sum(sum(x)) -> sum(x)
    outer_product,                                               # contract without a sum -> a*b
    contract_of_repeats,                                         # contract(broadcast(a), b) -> contract(a, sum(b))
    product_of_repeats,                                          # contract(a, broadcast(b)) -> broadcast(contract(a, b))
    number_to_factor,                                            # c*(broadcast(k*x)*y) -> broadcast(c*k*x)*y
    move_of_repeats,                                             # slice, transpose, at of a repeat -> a repeat
    reshape_of_scalar,                                           # reshape(broadcast(c)) -> broadcast(c)
    slice_of_parts,                                              # slice(concat(a, b)) -> a
    delay_of_constant,                                           # shift(c, c) -> c
    weighted_difference,                                         # w*p - w*onehot(y) -> w*(p - onehot(y))
    step_of_delay,                                               # shift(a, -1, h0)[0] -> h0
)
