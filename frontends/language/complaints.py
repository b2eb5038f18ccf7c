"""A parser's error -> a message about the model: what was found, what was expected, a way out."""

from __future__ import annotations

import re
from typing import Any

from .diagnostics import Diagnostic, Note, Source, did_you_mean

KEYWORDS = ("model", "input", "target", "param", "stat", "metric", "loss", "output", "def", "penalty", "data", "train",
            "fragment", "repeat", "time", "lengths", "feedback", "on_backward", "energy", "visible", "hidden",
            "pretrain")
_WORDS = {"on": "`on` is expected", "NAME": "a name", "NUMBER": "a number", "PATTERN": "a parameter's name or pattern",
          "_NL": "the end of the line", "$END": "the end of the text", "RPAR": "`)`", "RSQB": "`]`", "EQUAL": "`=`",
          "COLON": "`:`", "LPAR": "`(`", "LSQB": "`[`", "COMMA": "`,`"}
_STRANGERS = {"{": "indices stand in square brackets: a[t]", "}": "indices stand in square brackets: a[t]",
              "!": "`not a` negates, `a != b` compares", "&": "write `and`", "|": "write `or`", "%": "there is no remainder",
              "'": "texts stand in double quotes", '"': "this text has no closing quote", "'T": "the transpose is `W.T`",
              "$": "comments start with `#`", "\\": "a statement goes on where the next line is indented deeper",
              "·": "the product of elements is `*`, of matrices `@`", "×": "the product of elements is `*`, of matrices `@`",
              "−": "this is a dash: minus is `-`", "–": "this is a dash: minus is `-`", "≤": "write `<=`", "≥": "write `>=`"}


def complaint(source: Source, text: str, error: Any, at: int) -> tuple[Diagnostic, int, int]:
    """The message for a syntax error at an offset, and the first and last line of the statement that it spoils."""
    from lark.exceptions import UnexpectedCharacters
    token = getattr(error, "token", None)
    end_of_line = token is not None and token.type in ("_NL", "$END", "_INDENT", "_DEDENT")
    if end_of_line:
        at = len(text[:at].rstrip()) if token is not None and token.type != "_NL" else len(text[:at].rstrip(" \t"))
        start = text.rfind("\n", 0, at) + 1
        at = max(start + len(text[start:at].split("#")[0].rstrip()), 0)
    word = "" if end_of_line else str(token) if token is not None else text[at:at + 1]
    last = text.count("\n", 0, at) + 1
    first = _statement_start(text, last)
    expected = set(getattr(error, "expected", None) or getattr(error, "allowed", None) or ())
    message, hint, notes = _explain(source, text, first, at, word, expected, isinstance(error, UnexpectedCharacters))
    if "is not a statement" in message:
        at = text.rfind("\n", 0, at) + 1
        at += indent(text[at:])
        word = text[at:].split()[0]
    if "ends with a colon" in message:
        at = len("\n".join(text.split("\n")[:first]).rstrip())
        word = ""
    span = source.span(at, at + max(1, len(word)))
    return Diagnostic(span, message, notes, hint, source.line(span.line)), first, last


def _statement_start(text: str, line: int) -> int:
    """The line on which a statement starts that reaches to this one: what is indented deeper continues, but after a colon."""
    lines = text.split("\n")
    while True:
        above = next((k for k in range(line - 1, 0, -1) if lines[k - 1].strip()), None)
        if above is None or line > len(lines) or indent(lines[above - 1]) >= indent(lines[line - 1]) \
                or ends_with_colon(lines[above - 1]):
            return line
        line = above


def ends_with_colon(line: str) -> bool:
    return line.split("#")[0].rstrip().endswith(":")


def indent(line: str) -> int:
    return len(line.expandtabs(8)) - len(line.expandtabs(8).lstrip())


def _explain(source: Source, text: str, first: int, at: int, word: str, expected: set[str],
             stranger: bool) -> tuple[str, str | None, tuple[Note, ...]]:
    line_start = text.rfind("\n", 0, at) + 1
    before = text[line_start:at].split("#")[0]
    opened = _unclosed(before)
    head = before.split()
    if stranger and not (word.isalnum() or word in "()[],:;=+-*/@^<>.~_"):
        shown = word if word.isprintable() else f"\\x{ord(word):02x}" if word else ""
        return f"`{shown}` has no meaning here", _STRANGERS.get(word), ()
    start = text.split("\n")[first - 1].split()[:1]
    ended = not word or first < text.count("\n", 0, at) + 1
    if start in (["fragment"], ["repeat"], ["pretrain"]) and "COLON" in expected and ended:
        what = "pretrain block" if start == ["pretrain"] else start[0]
        return f"the first line of a {what} ends with a colon", "its body stands below it, indented", ()
    if word in (")", "]") and opened is None:
        return f"`{word}` closes no bracket", None, ()
    if opened is not None and not word:
        bracket = before[opened]
        return f"`{bracket}` is not closed", f"`{')' if bracket == '(' else ']'}` is missing", ()
    if head and not re.match(r"[^\W\d][\w.]*$|[^\W\d][\w.]*\W", head[0]):
        head = []
    if word == "=" and "=" in before and "==" not in before and "LPAR" in expected:
        return "a second `=`", "`==` compares", ()
    if word.startswith("*") and before.rstrip().endswith("*"):
        return "`**` has no meaning here", "a power is written a^b", ()
    if head and head[0] in KEYWORDS and head[0] not in ("loss", "model") and word == "=" and len(head) == 1:
        return f"`{head[0]}` is a word of the language and cannot be a variable", "choose another name", ()
    if head and head[0] not in KEYWORDS and len(head) == 1 and (word.isidentifier() or word[:1].isalpha()):
        return f"`{head[0]} {word}` is not a statement", did_you_mean(head[0], KEYWORDS,
                                                                      "an equation is written name = expression"), ()
    found = f"`{word}` is not expected here" if word else "the line ends too early"
    return found, _continued(text, first, line_start, at) or _expectation(expected), ()


def _continued(text: str, first: int, line_start: int, at: int) -> str | None:
    """What is said of the first word of a line that goes on with a statement above it."""
    above = "\n".join(text[:line_start].split("\n")[first - 1:])
    if not above or text[line_start:at].strip() or _unclosed(above) is not None:
        return None
    tabs = " (a tab goes to the next multiple of 8 columns)" if "\t" in text[line_start:at] or above.startswith("\t") else ""
    return f"what is indented deeper goes on with line {first}: a statement of its own begins in the same column{tabs}"


def _unclosed(text: str) -> int | None:
    """The offset of the last bracket that is not closed."""
    stack: list[int] = []
    for i, c in enumerate(text):
        if c in "([":
            stack.append(i)
        elif c in ")]" and stack:
            stack.pop()
    return stack[-1] if stack else None


def _expectation(expected: set[str]) -> str | None:
    if {"NUMBER", "LPAR"} <= expected:
        return "a value is expected: a number, a name, a call or parentheses"
    words = sorted(_WORDS.get(e, f"`{e.lower()}`") for e in expected if e in _WORDS or (e.isupper() and e.lower() in (
        *KEYWORDS, "on", "in", "over", "where")))
    return f"expected: {', '.join(words)}" if 0 < len(words) <= 6 else None
