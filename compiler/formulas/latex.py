"""Terms -> LaTeX. An adjoint d_v prints as v with a bar, time positions as subscripts, the batch not at all."""

from __future__ import annotations

from fractions import Fraction

from .terms import ATOM, BIG, BINDING, NEGATIVE, NOT, POSTFIX, POWER, PRODUCT, SUM, Term, terms_below

GREEK = ("alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
         "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega").split()
OPERATORS = {"<": "<", "<=": r"\le", ">": ">", ">=": r"\ge", "==": "=", "!=": r"\ne", "and": r"\wedge", "or": r"\vee"}
FUNCTIONS = {"exp", "log", "tanh", "sin", "cos", "max", "min", "arctan"}
BIG_SIGNS = {"sum": r"\sum", "prod": r"\prod", "max": r"\max", "min": r"\min"}

Piece = tuple[str, int]


def to_latex(root: Term) -> str:
    """A term as LaTeX, without the dollars."""
    pieces: dict[Term, Piece] = {}
    for term in terms_below(root):
        pieces[term] = _piece(term, [pieces[a] for a in term.args])
    return pieces[root][0]


def symbol_latex(text: str, subs: tuple[str, ...] = ()) -> str:
    """A name: `d_W_f` -> \\bar{W}_{f}, `b1` -> b_{1}, `Whh` -> W_{hh}; words of several letters upright."""
    bars = 0
    while text.startswith("d_") and len(text) > 2:
        bars, text = bars + 1, text[2:]
    path, _, last = text.rpartition(".")
    head, *below = last.split("_") if not last.startswith("_") else [last]
    stem = head.rstrip("0123456789")
    if stem and stem != head:
        below.insert(0, head[len(stem):])
    if len(stem) > 1 and stem[0].isupper() and stem[1:].islower() and len(stem) <= 3:
        stem, below = stem[0], [stem[1:], *below]
    base = _word(stem or head)
    for _ in range(bars):
        base = rf"\bar{{{base}}}"
    below = [_word(b) for b in ([path] if path else []) + below if b] + list(subs)
    return base + (f"_{{{', '.join(below)}}}" if below else "")


def _word(text: str) -> str:
    if text in GREEK:
        return "\\" + text
    if len(text) == 1 or text.isdigit():
        return text
    if len(text) <= 2 and text.islower():
        return text
    escaped = text.replace("_", r"\_")
    return rf"\mathrm{{{escaped}}}"


def _piece(term: Term, args: list[Piece]) -> Piece:
    match term.kind:
        case "name":
            return symbol_latex(term.head), ATOM
        case "text":
            return rf"\text{{{_escaped(term.head)}}}", ATOM
        case "grouped":
            return rf"\left({args[0][0]}\right)", ATOM
        case "size":
            return term.head.replace("*", r"\,"), SUM if "+" in term.head or "-" in term.head else ATOM
        case "number":
            return _number(term)
        case "index":
            base = term.args[0]
            subs = tuple("t" if s == "t" else s.replace("*", r"\,") for s in term.subs)
            if base.kind == "name":
                return symbol_latex(base.head, subs), ATOM
            return f"{_at_least(args[0], ATOM)}_{{{', '.join(subs)}}}", POSTFIX
        case "transpose":
            return rf"{_at_least(args[0], ATOM)}^{{\top}}", POSTFIX
        case "concat":
            return rf"\left[{', '.join(t for t, _ in args)}\right]", ATOM
        case "prefix":
            sign = "-" if term.head == "-" else r"\neg "
            return sign + _at_least(args[0], PRODUCT), NEGATIVE if term.head == "-" else NOT
        case "big":
            return _big(term, args[0])
        case "argument":
            return rf"\mathrm{{{term.head}}} = {args[0][0]}", ATOM
        case "call":
            return _call(term, [t for t, _ in args])
    return _infix(term, args)


def _at_least(piece: Piece, binding: int) -> str:
    return piece[0] if piece[1] >= binding else rf"\left({piece[0]}\right)"


def _number(term: Term) -> Piece:
    value = term.value
    if isinstance(value, Fraction):
        sign = "-" if value < 0 else ""
        return rf"{sign}\tfrac{{{abs(value.numerator)}}}{{{value.denominator}}}", NEGATIVE if value < 0 else ATOM
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    if "e" in text:
        mantissa, power = text.split("e")
        text = rf"{mantissa} \cdot 10^{{{int(power)}}}"
        return text, PRODUCT
    return text.replace("inf", r"\infty"), NEGATIVE if text.startswith("-") else ATOM


def _big(term: Term, arg: Piece) -> Piece:
    over = ", ".join(term.subs)
    if term.head in BIG_SIGNS:
        return rf"{BIG_SIGNS[term.head]}_{{{_over(over)}}} {_at_least(arg, PRODUCT)}", BIG
    return rf"\operatorname{{{_escaped(term.head)}}}_{{{_over(over)}}}\left({arg[0]}\right)", POSTFIX


def _over(text: str) -> str:
    return text.replace("batch", r"\mathrm{batch}")


def _escaped(text: str) -> str:
    return text.replace("_", r"\_")


def _call(term: Term, args: list[str]) -> Piece:
    match term.head, args:
        case "exp", [a] if len(a) < 30:
            return f"e^{{{a}}}", POWER
        case "sqrt", [a]:
            return rf"\sqrt{{{a}}}", ATOM
        case "abs", [a]:
            return rf"\left|{a}\right|", ATOM
        case "norm", [a]:
            return rf"\left\lVert {a} \right\rVert", ATOM
        case "sigmoid", [a]:
            return rf"\sigma\left({a}\right)", POSTFIX
        case "onehot", [a, *_]:
            return rf"\mathbf{{1}}_{{{a}}}", POSTFIX
        case "select", [c, a, b]:
            return rf"\begin{{cases}} {a} & {c} \\ {b} & \text{{otherwise}} \end{{cases}}", ATOM
        case "sum" | "prod", [a]:
            return rf"\{term.head} {a}" if term.args[0].kind in ("name", "index") else rf"\{term.head}\left({a}\right)", BIG
    f = "\\" + term.head if term.head in FUNCTIONS else rf"\operatorname{{{_escaped(term.head)}}}"
    return rf"{f}\left({', '.join(args)}\right)", POSTFIX


def _rank(term: Term) -> int | None:
    """How many features a term has, where that is known."""
    if term.source is not None:
        return len(term.source.shape)
    return _rank(term.args[0]) if term.kind in ("transpose", "prefix", "grouped", "index") else None


def _row(term: Term) -> bool:
    """Whether a vector stands as a row: h.T @ W."""
    inner = term.args[0] if term.kind in ("prefix", "grouped") else term
    return inner.kind == "infix" and inner.head == "@" and _rank(inner.args[0]) == 1


def _turned(a: Term, piece: Piece) -> Piece:
    """A vector as a row; a sign stands before it."""
    if a.kind == "prefix" and a.head == "-" and a.args[0].kind == "name":
        return rf"{piece[0]}^{{\top}}", NEGATIVE
    return rf"{_at_least(piece, ATOM)}^{{\top}}", POWER


def _infix(term: Term, args: list[Piece]) -> Piece:
    op, (a, b) = term.head, term.args
    own = BINDING[op]
    left, right = args
    match op:
        case "/":
            return rf"\frac{{{left[0]}}}{{{right[0]}}}", POWER if left[1] == ATOM else PRODUCT
        case "^":
            return f"{_at_least(left, ATOM)}^{{{right[0]}}}", POWER
        case "*" | "@":
            dot = r"\," if op == "@" or a.scalar or b.scalar else r"\odot"
            if a.kind == b.kind == "number":
                dot = r"\cdot"
            if op == "@" and _rank(a) == 1 and not _row(a) and not (b.kind == "transpose" and _rank(b) == 1):
                left = _turned(a, left)                                    # an inner product, or a vector before a matrix
            if dot == r"\odot" and a.kind == "infix" and a.head == "@":
                left = rf"\left({left[0]}\right)", ATOM                    # which product comes first is not left to a rule
            return f"{_at_least(left, PRODUCT)} {dot} {_at_least(right, POWER)}", PRODUCT
        case "+" | "-":
            return f"{_at_least(left, SUM)} {op} {_at_least(right, SUM if op == '+' else BIG)}", SUM
    return f"{_at_least(left, own + 1)} {OPERATORS[op]} {_at_least(right, own + 1)}", own
