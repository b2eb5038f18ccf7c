"""The language's words for images: convolution, pooling, upsampling, flattening.

    conv(x, K, stride = 2, padding = same, dilation = 1, groups = 1, flip = true)
    conv_transpose(x, K, stride = 2, padding = 1, more = 1, dilation = 1, groups = 1)
    conv(x, K, b, ...), conv_transpose(x, K, b, ...)      b[O]: a bias for every channel of the result
    local(x, K, stride = 1, padding = valid)      a kernel of its own at every position
    max_pool(x, 2, stride = 2, padding = 0), avg_pool(x, [2, 1])
    global_max(x), global_avg(x)                  (C, H, W) -> (C)
    upsample(x, 2), flatten(x), channels(b, x)    channels: b[C] at every position of x
    windows(x, 3)                                 (C, H, W) -> (C, windows, 3, windows, 3), with the options of conv
    correlate(g, x, 3)                            what conv adds up for K: sum over examples and positions of g and windows of x
    unpool(g, 2), max_unpool(g, x, 2)             g added to every element of its window; to the largest one of its window in x
    global_max_unpool(g, x), sum_blocks(g, 2)     g at every channel's largest element of x; what upsample adds up

An image is (C, H, W), or (C, N) in one dimension; a kernel (O, C/groups, h, w). Padding is `valid` (none), `same` (as many
outputs as ceil(n/stride)), a number, or one for each dimension; a pair is before and after: [[0, 1], [0, 1]]. The stride of a
pooling is its window's size unless it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt

from ...compiler.graph import BATCH, Expr, GraphError, Reduce, Reshape, Size, postorder, product, size
from . import image_words, images
from . import syntax as s
from .arithmetic import declared
from .diagnostics import did_you_mean
from .scope import Context, Equation, Scope, Value, text_of
from .static import integer, size_of

Builtin = Callable[[Context, s.Call, Scope], Expr]
CONV = "conv(x, K, b, stride = 1, padding = same, dilation = 1, groups = 1)"
POOL = "max_pool(x, 2, stride = 2, padding = 0)"


class Hinted(GraphError):
    """What cannot be, and a way out."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Arguments:
    """A call's positional arguments as values, and its options."""

    def __init__(self, ctx: Context, node: s.Call, scope: Scope, values: int, options: Sequence[str], usage: str,
                 most: int | None = None) -> None:
        from .functions import real_values
        self.ctx, self.node, self.scope, self.usage = ctx, node, scope, usage
        plain = [a.value for a in node.args if not a.name]
        self.named: dict[str, s.Expr] = {}
        for a in node.args:
            if a.name and a.name not in options:
                ctx.fail(scope, a, f"`{node.f}` has no option `{a.name}`", hint=did_you_mean(a.name, options) or f"it is {usage}")
            if a.name in self.named:
                ctx.fail(scope, a, f"`{a.name}` is given twice")
            if a.name:
                self.named[a.name] = a.value
        values = min(max(values, len(plain)), most or values)
        if not values <= len(plain) <= values + ("window" in options):
            ctx.fail(scope, node, f"this is no call of `{node.f}`", hint=f"it is {usage}")
        self.values, self.rest = real_values(ctx, plain[:values], scope), plain[values:]

    def several(self, node: s.Expr, dims: int, least: int, what: str) -> tuple[int, ...]:
        """A whole number for every dimension: one for all, or [a, b]."""
        items = list(node.items) if isinstance(node, s.Row) else [node] * dims
        if len(items) != dims:
            each = "[before, after]" if what == "pair" else f"one number for all of {dims} dimensions, or one for each"
            few = "one number" if len(items) == 1 else f"{len(items)} numbers"
            self.ctx.fail(self.scope, node, f"`{text_of(self.scope, node)}` is {few}; the {what} is {each}",
                          hint=f"it is {self.usage}")
        return tuple(self.whole(item, least, what) for item in items)

    def whole(self, item: s.Expr, least: int, what: str) -> int:
        k = integer(self.ctx, item, self.scope)
        if k is None or k < least:
            text, words = text_of(self.scope, item), isinstance(item, s.Name | s.Text) and what == "padding"
            told = "a number" if words else f"a whole number from {least} on"
            self.ctx.fail(self.scope, item, f"the {what} is {'`valid`, `same` or ' if words else ''}{told}, not `{text}`",
                          hint=(did_you_mean(text.strip('"'), ["valid", "same"]) if words else None) or f"it is {self.usage}")
        return k

    def option(self, name: str, dims: int, default: tuple[int, ...], least: int = 1) -> tuple[int, ...]:
        return self.several(self.named[name], dims, least, name) if name in self.named else default

    def padding(self, x: Expr, kernel: Sequence[Size], stride: Sequence[int],
                dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Elements before and after, for every dimension."""
        node = self.named.get("padding")
        if node is None or (isinstance(node, s.Name) and node.name == "valid"):
            return ((0, 0),) * len(kernel)
        if isinstance(node, s.Name) and node.name == "same":
            return tuple(images.same(self.number(x.shape[1 + i]) if stride[i] > 1 else 0, self.number(k), stride[i], dilation[i])
                         for i, k in enumerate(kernel))
        items = node.items if isinstance(node, s.Row) else ()
        if len(items) == len(kernel) and any(isinstance(x, s.Row) for x in items):
            pairs = [self.several(x, 2, 0, "pair" if isinstance(x, s.Row) else "padding") for x in items]
            return tuple((p[0], p[1]) for p in pairs)
        return tuple((p, p) for p in self.several(node, len(kernel), 0, "padding"))

    def number(self, n: Size) -> int:
        value = self.ctx.number(n)
        if value is None:
            self.ctx.fail(self.scope, self.node, f"padding that depends on the image needs its size, and {n} is not given")
        return value

    def steps(self, x: Expr, kernel: Sequence[Size], default: tuple[int, ...]) -> images.Steps:
        """Stride, padding and dilation of the call."""
        dims = len(kernel)
        stride, dilation = self.option("stride", dims, default), self.option("dilation", dims, (1,) * dims)
        return images.Steps(stride, self.padding(x, kernel, stride, dilation), dilation, self.ctx.system.sizes)

    def kernel(self, x: Expr, kernel: Expr, dims: int, form: str = "(O, C, h, w), or (O, C, k) in one dimension") -> None:
        """Refuses what is no kernel for `dims` dimensions, and what is no image of as many."""
        name = text_of(self.scope, [a.value for a in self.node.args if not a.name][1])
        if dims not in (1, 2):
            raise Hinted(f"a kernel is {form}, and `{name}` is {self.ctx.shape_text(kernel)}", f"it is {self.usage}")
        if len(x.shape) == dims + 1:
            return
        image = text_of(self.scope, self.node.args[0].value)
        told = f"`{image}` is {self.ctx.shape_text(x)}, and the kernel {self.ctx.shape_text(kernel)} reads images "
        raise Hinted(told + ("(C, H, W)" if dims == 2 else "(C, N)"), self.remedy(x, kernel, dims, image))

    def remedy(self, x: Expr, kernel: Expr, dims: int, image: str) -> str:
        """What to do with what is no image."""
        times = [a for a in x.axes if a != BATCH]
        if times and len(x.shape) == 1:
            t = next((k for k, v in self.scope.axes().items() if v == times[0]), times[0])
            v = image.partition("[")[0]
            return (f"along {t}, a convolution is a product of steps side by side: W @ [{v}[{t}-1], {v}[{t}], {v}[{t}+1]]; "
                    f"in the library, conv_time({v}[{t}], O, 3)")
        if len(x.shape) > 1:
            swapped = len(kernel.shape) == len(x.shape) - 1 in (2, 3)
            return f"the image comes first: {self.usage}" if swapped else f"it is {self.usage}"
        count, channels = self.ctx.number(product(x.shape)), self.ctx.number(kernel.shape[1])
        if count and channels and count % channels == 0:
            n = count // channels
            side = isqrt(n) if dims == 2 else n
            if side**dims == n > 1:
                return f"reshape({image}, {', '.join(map(str, [channels] + [side] * dims))}) makes an image of it"
        return f"reshape({image}, {'C, H, W' if dims == 2 else 'C, N'}) makes an image of a vector"

    def window(self, x: Expr) -> tuple[Size, ...]:
        """The window's size that the call gives, for every dimension of x."""
        node = self.rest[0] if self.rest else self.named.get("window")
        if node is None or len(x.shape) not in (2, 3):
            self.ctx.fail(self.scope, self.node, f"this is no call of `{self.node.f}` on an image (C, H, W) or (C, N)",
                          hint=f"it is {self.usage}")
        return tuple(map(size, self.several(node, len(x.shape) - 1, 1, "factor" if self.node.f == "upsample" else "window")))

    def groups(self) -> Size:
        node = self.named.get("groups")
        return size(1) if node is None else size_of(self.ctx, node, self.scope, "the number of groups")


def _conv(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "dilation", "groups", "flip"), CONV, 3)
    x, kernel, *bias = call.values
    call.kernel(x, kernel, len(kernel.shape) - 2)
    steps = call.steps(x, kernel.shape[2:], (1,) * len(kernel.shape[2:]))
    out = images.convolution(x, kernel, steps, call.groups(), _truth(call, "flip"))
    return out + images.over_positions(bias[0], out) if bias else out


def _truth(call: Arguments, name: str) -> bool:
    node = call.named.get(name)
    if node is not None and not (isinstance(node, s.Name) and node.name in ("true", "false")):
        call.ctx.fail(call.scope, node, f"`{name}` is true or false")
    return isinstance(node, s.Name) and node.name == "true"


def _conv_transpose(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "more", "dilation", "groups"),
                     "conv_transpose(x, K, b, stride = 2, padding = 1, more = 1)", 3)
    x, kernel, *bias = call.values
    dims = len(kernel.shape) - 2
    call.kernel(x, kernel, dims, "(C, O, h, w), or (C, O, k) in one dimension")
    if isinstance(call.named.get("padding"), s.Name) and text_of(scope, call.named["padding"]) == "same":
        ctx.fail(scope, call.named["padding"], "the padding of conv_transpose is a number: what is cut off at each end")
    out = images.transposed(x, kernel, call.steps(x, kernel.shape[2:], (1,) * dims), call.groups(),
                            call.option("more", dims, (0,) * dims, 0))
    return out + images.over_positions(bias[0], out) if bias else out


def _windows(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 1, ("window", "stride", "padding", "dilation"), "windows(x, 3, stride = 1)")
    (x,) = call.values
    k = call.window(x)
    return images.windows(x, k, call.steps(x, k, (1,) * len(k)))


def _correlate(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("window", "stride", "padding", "dilation", "groups"), "correlate(g, x, 3, stride = 1)")
    g, x = call.values
    k = call.window(x)
    return images.correlation(g, x, k, call.steps(x, k, (1,) * len(k)), call.groups())


def _local(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "dilation"), "local(x, K), K[O, H, W, C, h, w]")
    x, kernel = call.values
    dims = (len(kernel.shape) - 2) // 2 if len(kernel.shape) % 2 == 0 else 0
    call.kernel(x, kernel, dims, "(O, H, W, C, h, w), for every position its own, or (O, N, C, k) in one dimension")
    return images.local(x, kernel, call.steps(x, kernel.shape[dims + 2:], (1,) * dims))


def _pool(kind: str) -> Builtin:
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        call = Arguments(ctx, node, scope, 1, ("window", "stride", "padding", "dilation"), POOL.replace("max_pool", node.f))
        (x,) = call.values
        sizes = call.window(x)
        k = tuple(n.value or 1 for n in sizes)
        return images.pooling(kind, x, k, call.steps(x, sizes, k))
    return build


def _unpool(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    options = ("window", "stride", "padding", "more", "dilation")
    call = Arguments(ctx, node, scope, 1, options, "unpool(g, 2, stride = 2, more = 1)")
    (g,) = call.values
    k = call.window(g)
    stride = call.option("stride", len(k), tuple(n.value or 1 for n in k))
    padding = call.named.get("padding")
    if isinstance(padding, s.Name) and padding.name == "same" and {*stride} != {1}:
        ctx.fail(scope, padding, "with a stride, the padding of `unpool` is a number: what is cut off at each end")
    steps = call.steps(g, k, stride)
    more = call.option("more", len(k), (0,) * len(k), 0)
    for extra, by in zip(more, stride, strict=True):
        if extra >= by:
            ctx.fail(scope, call.named["more"], f"`more` is what no window reached, less than the stride {by}, not {extra}")
    return image_words.unpooled(g, k, steps, more)


def _max_unpool(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    usage = "max_unpool(g, x, 2, stride = 2, padding = 0)"
    call = Arguments(ctx, node, scope, 2, ("window", "stride", "padding", "dilation"), usage)
    g, x = call.values
    sizes = call.window(x)
    k = tuple(n.value or 1 for n in sizes)
    return _chosen(ctx, image_words.max_unpooled(g, x, k, call.steps(x, sizes, k)), g, x)


def _global_max_unpool(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    g, x = Arguments(ctx, node, scope, 2, (), "global_max_unpool(g, x)").values
    if len(x.shape) not in (2, 3):
        ctx.fail(scope, node, f"`{node.f}` reads an image (C, H, W) or (C, N), not {ctx.shape_text(x)}")
    return _chosen(ctx, image_words.max_unpooled(g, x), g, x)


def _chosen(ctx: Context, out: Expr, *operands: Expr) -> Expr:
    """Where the maxima stand is no matter of the gradient, as in max_pool."""
    given = {*postorder(*operands)}
    ctx.choices |= {e for e in postorder(out) if isinstance(e, Reduce) and e.kind == "argmax" and e not in given}
    return out


def _global(kind: str) -> Builtin:
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        (x,) = Arguments(ctx, node, scope, 1, (), f"{node.f}(x)").values
        if len(x.shape) < 2:
            ctx.fail(scope, node, f"`{node.f}` reads an image (C, H, W) or (C, N), not {ctx.shape_text(x)}")
        return images.pooled(kind, x)
    return build


def _flatten(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    (x,) = Arguments(ctx, node, scope, 1, (), "flatten(x)").values
    return Reshape(x, (product(x.shape),))


def _resized(build: Callable[[Expr, tuple[int, ...]], Expr]) -> Builtin:
    def resized(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        call = Arguments(ctx, node, scope, 1, ("window",), f"{node.f}(x, 2)")
        (x,) = call.values
        return build(x, tuple(n.value or 1 for n in call.window(x)))
    return resized


def _channels(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    b, x = Arguments(ctx, node, scope, 2, (), "channels(b, x), b[C] at every position of x").values
    return images.over_positions(b, x)


def _told(build: Builtin) -> Builtin:
    """What cannot be, as a mistake of the call, with the declarations of what it reads."""
    def told(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        try:
            return build(ctx, node, scope)
        except GraphError as e:
            from .functions import values
            plain = [a.value for a in node.args if not a.name and isinstance(a.value, s.Name)]
            known = [n for n in plain if isinstance(scope.find(n.name), Value | Equation)]
            notes = declared(ctx, scope, list(zip(known, values(ctx, list(known), scope), strict=True)))
            ctx.fail(scope, node, str(e), *notes, hint=e.hint if isinstance(e, Hinted) else None)
    return told


IMAGES: dict[str, Builtin] = {name: _told(build) for name, build in {
    "conv": _conv, "conv_transpose": _conv_transpose, "local": _local, "max_pool": _pool("max"), "avg_pool": _pool("mean"),
    "global_max": _global("max"), "global_avg": _global("mean"), "flatten": _flatten,
    "upsample": _resized(images.upsampled), "channels": _channels, "windows": _windows, "correlate": _correlate,
    "unpool": _unpool, "max_unpool": _max_unpool, "global_max_unpool": _global_max_unpool,
    "sum_blocks": _resized(image_words.blocks_summed),
}.items()}

__all__ = ["IMAGES"]
