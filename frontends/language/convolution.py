"""The language's words for images: convolution, pooling, upsampling, flattening.

    conv(x, K, stride = 2, padding = same, dilation = 1, groups = 1, flip = true)
    conv_transpose(x, K, stride = 2, padding = 1, more = 1, dilation = 1, groups = 1)
    local(x, K, stride = 1, padding = valid)      a kernel of its own at every position
    max_pool(x, 2, stride = 2, padding = 0), avg_pool(x, [2, 1])
    global_max(x), global_avg(x)                  (C, H, W) -> (C)
    upsample(x, 2), flatten(x), channels(b, x)    channels: b[C] at every position of x

An image is (C, H, W), or (C, N) in one dimension; a kernel (O, C/groups, h, w). Padding is `valid` (none), `same` (as many
outputs as ceil(n/stride)), a number, or one for each dimension. The stride of a pooling is its window's size unless it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ...compiler.graph import Expr, GraphError, Reshape, Size, product
from . import images
from . import syntax as s
from .scope import Context, Scope, text_of
from .static import integer, size_of

Builtin = Callable[[Context, s.Call, Scope], Expr]
CONV = "conv(x, K, stride = 1, padding = same, dilation = 1, groups = 1)"
POOL = "max_pool(x, 2, stride = 2, padding = 0)"


class Arguments:
    """A call's positional arguments as values, and its options."""

    def __init__(self, ctx: Context, node: s.Call, scope: Scope, values: int, options: Sequence[str], usage: str) -> None:
        from .functions import real_values
        self.ctx, self.node, self.scope, self.usage = ctx, node, scope, usage
        plain = [a.value for a in node.args if not a.name]
        self.named = {a.name: a.value for a in node.args if a.name}
        for a in node.args:
            if a.name and a.name not in options:
                ctx.fail(scope, a, f"`{node.f}` has no option `{a.name}`", hint=f"it is {usage}")
        if not values <= len(plain) <= values + ("window" in options):
            ctx.fail(scope, node, f"this is no call of `{node.f}`", hint=f"it is {usage}")
        self.values, self.rest = real_values(ctx, plain[:values], scope), plain[values:]

    def several(self, node: s.Expr, dims: int, least: int) -> tuple[int, ...]:
        """A whole number for every dimension: one for all, or [a, b]."""
        items = list(node.items) if isinstance(node, s.Row) else [node] * dims
        if len(items) != dims:
            self.ctx.fail(self.scope, node, f"`{text_of(self.scope, node)}` is not one number for each of {dims} dimensions")
        found = []
        for item in items:
            k = integer(self.ctx, item, self.scope)
            if k is None or k < least:
                self.ctx.fail(self.scope, item, f"`{text_of(self.scope, item)}` is no whole number from {least} on",
                              hint=f"it is {self.usage}")
            found.append(k)
        return tuple(found)

    def option(self, name: str, dims: int, default: tuple[int, ...], least: int = 1) -> tuple[int, ...]:
        return self.several(self.named[name], dims, least) if name in self.named else default

    def padding(self, x: Expr, kernel: Sequence[Size], stride: Sequence[int],
                dilation: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Elements before and after, for every dimension."""
        node = self.named.get("padding")
        if node is None or (isinstance(node, s.Name) and node.name == "valid"):
            return ((0, 0),) * len(kernel)
        if isinstance(node, s.Name) and node.name == "same":
            return tuple(images.same(self.number(x.shape[1 + i]), self.number(k), stride[i], dilation[i])
                         for i, k in enumerate(kernel))
        return tuple((p, p) for p in self.several(node, len(kernel), 0))

    def number(self, n: Size) -> int:
        value = self.ctx.number(n)
        if value is None:
            self.ctx.fail(self.scope, self.node, f"padding that depends on the image needs its size, and {n} is not given")
        return value

    def steps(self, x: Expr, kernel: Sequence[Size], default: tuple[int, ...]) -> images.Steps:
        """Stride, padding and dilation of the call."""
        if len(x.shape) != len(kernel) + 1:
            raise GraphError(f"`{text_of(self.scope, self.node)}` reads an image with {len(kernel)} dimensions after its "
                             f"channels, and the image is {self.ctx.shape_text(x)}")
        dims = len(kernel)
        stride, dilation = self.option("stride", dims, default), self.option("dilation", dims, (1,) * dims)
        return images.Steps(stride, self.padding(x, kernel, stride, dilation), dilation, self.ctx.system.sizes)

    def groups(self) -> Size:
        node = self.named.get("groups")
        return images.size(1) if node is None else size_of(self.ctx, node, self.scope, "the number of groups")


def _conv(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "dilation", "groups", "flip"), CONV)
    x, kernel = call.values
    steps = call.steps(x, kernel.shape[2:], (1,) * len(kernel.shape[2:]))
    return images.convolution(x, kernel, steps, call.groups(), _truth(call, "flip"))


def _truth(call: Arguments, name: str) -> bool:
    node = call.named.get(name)
    if node is not None and not (isinstance(node, s.Name) and node.name in ("true", "false")):
        call.ctx.fail(call.scope, node, f"`{name}` is true or false")
    return isinstance(node, s.Name) and node.name == "true"


def _conv_transpose(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "more", "dilation", "groups"),
                     "conv_transpose(x, K, stride = 2, padding = 1, more = 1)")
    x, kernel = call.values
    dims = len(kernel.shape[2:])
    if isinstance(call.named.get("padding"), s.Name) and text_of(scope, call.named["padding"]) == "same":
        ctx.fail(scope, call.named["padding"], "the padding of conv_transpose is a number: what is cut off at each end")
    return images.transposed(x, kernel, call.steps(x, kernel.shape[2:], (1,) * dims), call.groups(),
                             call.option("more", dims, (0,) * dims, 0))


def _local(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 2, ("stride", "padding", "dilation"), "local(x, K), K[O, H, W, C, h, w]")
    x, kernel = call.values
    dims = (len(kernel.shape) - 2) // 2
    return images.local(x, kernel, call.steps(x, kernel.shape[dims + 2:], (1,) * dims))


def _pool(kind: str) -> Builtin:
    def build(ctx: Context, node: s.Call, scope: Scope) -> Expr:
        call = Arguments(ctx, node, scope, 1, ("window", "stride", "padding", "dilation"), POOL.replace("max_pool", node.f))
        (x,) = call.values
        window = call.rest[0] if call.rest else call.named.get("window")
        if window is None or len(x.shape) not in (2, 3):
            ctx.fail(scope, node, f"this is no call of `{node.f}` on an image (C, H, W) or (C, N)", hint=f"it is {call.usage}")
        k = call.several(window, len(x.shape) - 1, 1)
        return images.pooling(kind, x, k, call.steps(x, tuple(map(images.size, k)), k))
    return build


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


def _upsample(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    call = Arguments(ctx, node, scope, 1, ("window",), "upsample(x, 2)")
    (x,) = call.values
    if not call.rest or len(x.shape) not in (2, 3):
        ctx.fail(scope, node, "this is no call of `upsample` on an image (C, H, W) or (C, N)", hint="it is upsample(x, 2)")
    return images.upsampled(x, call.several(call.rest[0], len(x.shape) - 1, 1))


def _channels(ctx: Context, node: s.Call, scope: Scope) -> Expr:
    b, x = Arguments(ctx, node, scope, 2, (), "channels(b, x), b[C] at every position of x").values
    return images.over_positions(b, x)


IMAGES: dict[str, Builtin] = {
    "conv": _conv, "conv_transpose": _conv_transpose, "local": _local, "max_pool": _pool("max"), "avg_pool": _pool("mean"),
    "global_max": _global("max"), "global_avg": _global("mean"), "upsample": _upsample, "flatten": _flatten,
    "channels": _channels,
}

__all__ = ["IMAGES"]
