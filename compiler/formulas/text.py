"""Terms -> text in the language's own notation."""

from __future__ import annotations

from fractions import Fraction

from .terms import AND, ATOM, BIG, BINDING, COMPARE, NEGATIVE, NOT, OR, POSTFIX, POWER, PRODUCT, SUM, Term, terms_below

Piece = tuple[str, int]                                  # the text, and how tightly it binds


def to_text(root: Term, exact: bool = False, limit: int | None = None) -> str:
    """The text of a term; `exact` keeps the parentheses that only the order of rounding needs.

    Below the root, a term larger than `limit` reads `...`.
    """
    pieces: dict[Term, Piece] = {}
    for term in terms_below(root):
        if limit is not None and term.weight > limit and term is not root:
            pieces[term] = ("...", ATOM)
        else:
            pieces[term] = _piece(term, [pieces[a] for a in term.args], exact)
    return pieces[root][0]


def _piece(term: Term, args: list[Piece], exact: bool) -> Piece:
    match term.kind:
        case "name" | "text":
            return term.head, ATOM
        case "argument":
            return f"{term.head} = {args[0][0]}", ATOM
        case "grouped":
            return f"({args[0][0]})", ATOM
        case "size":
            return term.head, _binding_of_size(term.head)
        case "number":
            return _number(term, exact)
        case "call":
            return f"{term.head}({', '.join(t for t, _ in args)})", POSTFIX
        case "concat":
            return f"[{', '.join(t for t, _ in args)}]", ATOM
        case "index":
            return f"{_at_least(args[0], POSTFIX)}[{', '.join(term.subs)}]", POSTFIX
        case "transpose":
            return f"{_at_least(args[0], POSTFIX)}.T", POSTFIX
        case "big":
            grouped = term.args[0].kind != "grouped" and (args[0][1] < PRODUCT or args[0][1] >= POSTFIX)
            body = f"({args[0][0]})" if grouped else args[0][0] if term.args[0].kind == "grouped" else f" {args[0][0]}"
            return f"{term.head}[{', '.join(term.subs)}]{body}", BIG
        case "prefix":
            return _prefix(term, args[0], exact)
    return _infix(term, args, exact)


def _at_least(piece: Piece, binding: int) -> str:
    return piece[0] if piece[1] >= binding else f"({piece[0]})"


def _binding_of_size(text: str) -> int:
    if " + " in text or " - " in text or "+" in text or "-" in text[1:]:
        return SUM
    return PRODUCT if "*" in text else NEGATIVE if text.startswith("-") else ATOM


def _number(term: Term, exact: bool) -> Piece:
    value = term.value
    if isinstance(value, Fraction):
        return f"{value.numerator}/{value.denominator}", PRODUCT
    text = repr(value)
    if not exact and isinstance(value, float):
        text = f"{value:.6g}"
    return text, NEGATIVE if text.startswith("-") else ATOM


def _prefix(term: Term, arg: Piece, exact: bool) -> Piece:
    if term.head == "not":
        return f"not {_at_least(arg, NOT)}", NOT
    if arg[1] == BIG or (not exact and arg[1] == PRODUCT):
        return f"-{arg[0]}", BIG if arg[1] == BIG else PRODUCT
    return f"-{_at_least(arg, POWER)}", NEGATIVE


def _infix(term: Term, args: list[Piece], exact: bool) -> Piece:
    op = term.head
    own = BINDING[op]
    (left, right), (a, b) = args, term.args
    if own == POWER:
        return f"{_at_least(left, POSTFIX)}^{_at_least(right, POSTFIX)}", POWER
    low = own + 1 if own == COMPARE else own
    high = own + 1
    if own in (OR, AND) or (not exact and op in "+*" and b.kind == "infix" and b.head in {"+": "+-", "*": "*"}[op]):
        high = own
    if own == PRODUCT and _mixed(op, a):
        low = NEGATIVE
    lhs, rhs = _at_least(left, low), _at_least(right, high)
    if own == PRODUCT and right[1] == BIG and not (exact and b.kind == "infix"):     # a * (b @ sum[t] c) is not a * b @ sum[t] c
        return f"{lhs} {op} {right[0]}", BIG
    if own == SUM and right[1] == BIG:
        rhs = right[0]
    return f"{lhs} {op} {rhs}", own


def _mixed(op: str, left: Term) -> bool:
    """Whether `a @ b * c` would make a reader stop: the two products are of different kinds."""
    if left.kind != "infix" or BINDING[left.head] != PRODUCT or op == "/":
        return False
    return (op == "@") != (left.head == "@")
