"""Optimisers: update rules as equations, lowered and printed like the rest.

Each is one block: a function of its options that gives the equations of one step for an array w with gradient g, learning
rate `lr` and step number `step` (1 at the first), and the slots that it keeps. The equations of `slots` are the new
values; `w` comes last. `look`, where it is there, is where the gradient is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from .graph import Expr, Input, Param, apply
from .sizes import symbol

N = symbol("n")
W, G = Param("w", (N,)), Param("g", (N,))
LR, STEP = Input("lr", ()), Input("step", ())
Options = dict[str, float | bool | str]


@dataclass(frozen=True)
class Rule:
    """One optimiser with its options filled in."""

    equations: dict[str, Expr]                                   # slot -> new value; "w" last
    slots: tuple[str, ...] = ()
    look: Expr | None = None                                     # where the gradient is taken, if not at w
    text: str = ""


OPTIMISERS: dict[str, tuple[Options, Callable[[Options], Rule]]] = {}


def optimiser(**defaults: float | bool | str) -> Callable[[Callable[[Options], Rule]], Callable[[Options], Rule]]:
    """Enter an optimiser and its options' defaults into the table."""
    def enter(build: Callable[[Options], Rule]) -> Callable[[Options], Rule]:
        OPTIMISERS[build.__name__] = (dict(defaults), build)
        return build
    return enter


def slot(name: str) -> Param:
    """A slot's old value, of w's shape."""
    return Param(name, (N,))


def root(v: Expr, options: Options) -> Expr:
    """sqrt(v) + eps, or sqrt(v + eps) with `eps_inside`: texts differ."""
    eps = float(options["eps"])
    return apply("sqrt", v + eps) if options.get("eps_inside") else apply("sqrt", v) + eps


def rest(share: float) -> float:
    """1 - share as people write it: 0.1 for 0.9, not 0.09999999999999998."""
    return float(1 - Decimal(repr(share)))


@optimiser(lr=0.01)
def sgd(options: Options) -> Rule:
    """w <- w - lr * g."""
    return Rule({"w": W - LR * G})


@optimiser(lr=0.01, momentum=0.9)
def momentum(options: Options) -> Rule:
    """u <- momentum * u - lr * g;  w <- w + u  (Polyak 1964)."""
    u = float(options["momentum"]) * slot("u") - LR * G
    return Rule({"u": u, "w": W + u}, ("u",))


@optimiser(lr=0.01, momentum=0.9)
def nesterov(options: Options) -> Rule:
    """u <- momentum * u - lr * g;  w <- w + u, with g taken at w + momentum * u (Sutskever et al. 2013).

    The step finds w already there, so what is left to add is -lr * g.
    """
    mu = float(options["momentum"])
    old = slot("u")
    return Rule({"u": mu * old - LR * G, "w": W - LR * G}, ("u",), W + mu * old)


@optimiser(lr=0.01, eps=1e-8, eps_inside=False)
def adagrad(options: Options) -> Rule:
    """v <- v + g^2;  w <- w - lr * g / (sqrt(v) + eps)  (Duchi et al. 2011)."""
    v = slot("v") + apply("square", G)
    return Rule({"v": v, "w": W - LR * G / root(v, options)}, ("v",))


@optimiser(lr=0.001, rho=0.9, eps=1e-8, eps_inside=False)
def rmsprop(options: Options) -> Rule:
    """v <- rho * v + (1 - rho) * g^2;  w <- w - lr * g / (sqrt(v) + eps)  (Tieleman and Hinton 2012)."""
    rho = float(options["rho"])
    v = rho * slot("v") + rest(rho) * apply("square", G)
    return Rule({"v": v, "w": W - LR * G / root(v, options)}, ("v",))


@optimiser(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, eps_inside=False)
def adam(options: Options) -> Rule:
    """Moments m, v with bias correction; w <- w - lr * m^ / (sqrt(v^) + eps)  (Kingma and Ba 2015).

    The corrections are gathered in two numbers, so that they cost no pass over the arrays:
    w <- w - (lr * c2 / c1) * m / (sqrt(v) + eps * c2), c1 = 1 - beta1^step, c2 = sqrt(1 - beta2^step).
    """
    moments, step = adam_step(options)
    return Rule({**moments, "w": W - step}, ("m", "v"))


def adam_step(options: Options) -> tuple[dict[str, Expr], Expr]:
    """Adam's new moments, and what it subtracts."""
    b1, b2, eps = (float(options[k]) for k in ("beta1", "beta2", "eps"))
    m = b1 * slot("m") + rest(b1) * G
    v = b2 * slot("v") + rest(b2) * apply("square", G)
    c1, square = 1 - apply("pow", b1, STEP), 1 - apply("pow", b2, STEP)
    c2 = apply("sqrt", square)
    below = apply("sqrt", v + eps * square) if options.get("eps_inside") else apply("sqrt", v) + eps * c2
    return {"m": m, "v": v}, m / below * (LR * c2 / c1)


@optimiser(lr=0.001, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.01, eps_inside=False)
def adamw(options: Options) -> Rule:
    """Adam, and w <- w - lr * weight_decay * w apart from the gradient (Loshchilov and Hutter 2019)."""
    moments, step = adam_step(options)
    return Rule({**moments, "w": (1 - LR * float(options["weight_decay"])) * W - step}, ("m", "v"))


def rule(name: str, given: Options) -> Rule:
    """The named optimiser under the given options."""
    if name not in OPTIMISERS:
        raise KeyError(f"no optimiser is called {name}; there are {', '.join(OPTIMISERS)}")
    defaults, build = OPTIMISERS[name]
    unknown = [k for k in given if k not in defaults]
    if unknown:
        raise KeyError(f"{name} has no option {unknown[0]}; it has {', '.join(defaults)}")
    return build({**defaults, **given})
