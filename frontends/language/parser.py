"""Text -> statements. A syntax error costs its own statement only: the rest is read, so that one run shows all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from . import syntax as s
from .complaints import complaint, ends_with_colon, indent
from .diagnostics import Diagnostic, Source

if TYPE_CHECKING:
    from lark import Lark, Token

DEEPEST = 60
MOST_ERRORS = 20


class Layout:
    """Turns line ends into the end of a statement, and deeper indentation after a colon into a block.

    Inside brackets, and where the next line is indented deeper than the statement, a statement goes on.
    """

    always_accept = ("_NL",)
    OPEN, CLOSE = ("LPAR", "LSQB"), ("RPAR", "RSQB")

    def process(self, stream: Iterator[Token]) -> Iterator[Token]:
        from lark import Token
        open_, levels, last, first = 0, [0], None, True
        for token in stream:
            if token.type == "_NL":
                line = token.rsplit("\n", 1)[1]
                indent = len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())
                following = self._following(token)
                if last is None or (open_ and (indent > levels[-1] or following in tuple(")]"))):
                    continue
                block = last.type == "COLON"
                if indent > levels[-1] and not block and following:
                    continue
                open_ = 0
                yield token
                if block and indent > levels[-1]:
                    levels.append(indent)
                    yield Token.new_borrow_pos("_INDENT", "", token)
                while indent < levels[-1]:
                    levels.pop()
                    yield Token.new_borrow_pos("_DEDENT", "", token)
                continue
            if first and (token.column or 1) > 1:
                levels = [(token.column or 1) - 1]
            first = False
            open_ += (token.type in self.OPEN) - (token.type in self.CLOSE)
            open_, last = max(open_, 0), token
            yield token
        for _ in levels[1:]:
            yield Token.new_borrow_pos("_DEDENT", "", last) if last else Token("_DEDENT", "")

    def __init__(self) -> None:
        self.text = ""

    def _following(self, token: Token) -> str:
        """The first character after this line end, '' at the end of the text."""
        end = token.end_pos
        return self.text[end:end + 1] if end is not None else ""


def _grammar() -> str:
    return files(__package__).joinpath("grammar.lark").read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _parser() -> tuple[Lark, Layout]:
    from lark import Lark
    layout = Layout()
    return Lark(_grammar(), parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=True,
                postlex=layout), layout


def parse_text(source: Source) -> tuple[tuple[s.Statement, ...], list[Diagnostic], dict[str, tuple[int, int]]]:
    """The statements of a text, what is wrong with those that could not be read, and the words on their left sides."""
    from lark.exceptions import LarkError, UnexpectedInput

    from .build import Builder
    parser, layout = _parser()
    text, found = source.text.rstrip() + "\n", list[Diagnostic]()
    lost: dict[str, tuple[int, int]] = {}
    while True:
        layout.text = text
        try:
            tree = parser.parse(text)
        except UnexpectedInput as e:
            at = e.pos_in_stream if isinstance(e.pos_in_stream, int) and e.pos_in_stream >= 0 else len(text)
            diagnostic, first, last = complaint(source, text, e, at)
            found.append(diagnostic)
            blanked = _blank(text, first, last)
            if len(found) >= MOST_ERRORS or blanked == text:
                return (), found, lost
            while blanked != text:
                lost.update(_left_side(text, blanked))
                text = blanked
                header = _emptied(text, first)
                blanked = _blank(text, header, header) if header else text
        except LarkError as e:                                    # no known way here; never a traceback for a model
            return (), [*found, Diagnostic(source.span(0, 1), f"this text cannot be read: {str(e).splitlines()[0]}")], lost
        else:
            statements: Any = Builder().transform(tree)
            return _shallow(statements, source, found), found, lost


def _left_side(text: str, blanked: str) -> dict[str, tuple[int, int]]:
    """What a statement that could not be read seems to declare: the words before its sign, all of a header's."""
    first = next((i for i, (a, b) in enumerate(zip(text, blanked)) if a != b), 0)
    line = text[first:text.find("\n", first)]
    head = line if line.lstrip().startswith(("model", "energy")) else re.split(r"[=~:]|->", line)[0]
    head = re.sub(r"\[[^]]*", lambda m: " " * len(m[0]), head)            # an index is declared elsewhere
    return {m[0]: (first + m.start(), first + m.end()) for m in re.finditer(r"[^\W\d][\w.]*", head)}


def _shallow(statements: tuple[s.Statement, ...], source: Source, found: list[Diagnostic]) -> tuple[s.Statement, ...]:
    """The statements that nest no deeper than an elaborator can follow."""
    fine = []
    for x in statements:
        if s.depth(x) > DEEPEST:
            span = source.span(x.start, x.end)
            found.append(Diagnostic(span, f"this nests deeper than {DEEPEST} levels", (),
                                    "name a part of it in an equation of its own", source.line(span.line)))
        else:
            fine.append(x)
    return tuple(fine)


def _emptied(text: str, line: int) -> int | None:
    """The first line of the block that this line was the only statement of."""
    lines = text.split("\n")
    above = next((k for k in range(line - 1, 0, -1) if lines[k - 1].strip()), None)
    if above is None or not ends_with_colon(lines[above - 1]):
        return None
    below = next((x for x in lines[line:] if x.strip()), "")
    return above if indent(below) <= indent(lines[above - 1]) else None


def _blank(text: str, first: int, last: int) -> str:
    """The text with lines first..last (from 1) emptied, and what is indented under them, so that places stay."""
    lines = text.split("\n")
    level = indent(lines[first - 1]) if first <= len(lines) else 0
    while last < len(lines) and (not lines[last].strip() or indent(lines[last]) > level):
        last += 1
    return "\n".join(" " * len(x) if first <= i <= last else x for i, x in enumerate(lines, 1))
