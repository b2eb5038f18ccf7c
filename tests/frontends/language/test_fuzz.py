"""Whatever the text, nothing but a ModelError comes out."""

import pytest
from chainrule.frontends.language import ModelError, parse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = [
    """model mlp(D = 64, H = 32, C = 10)
input  x[D]
target y : class(C)
param  W1[H, D] ~ he; b1[H] = 0
param  W2[C, H] ~ xavier;  b2[C] = 0
def bent(x, a = 0.1) = select(x > 0, x, a * x)
h = batch_norm(dropout(bent(W1 @ x + b1), 0.5))
s = W2 @ h + b2
loss = mean[batch] cross_entropy(softmax(s), y) + 0.1 * mean[batch] norm(h)
penalty l2(1e-4) on W*
metric error = argmax(s) != y
output s, h
data digits: x = image / 16, y = label, split 1400 / 397
train adam(lr = 0.001), epochs = 3, schedule cosine, freeze b*, rate W1 = 0.1
""",
    """model tagger(V = 20, C = 7, E = 6, H = 8, L = 2)
input  x[t] : class(V)
target y[t] : class(C)
param  L0[V, E] ~ normal(0.1)
fragment cell(x[t, D], H, f = tanh) -> h[t]:
    param W[H, D + H] ~ xavier
    h[t] = f(W @ [x[t], h[t-1]])   where h[-1] = 0
f[t] = lstm(L0[x[t]], H)
b[t] = cell(L0[x[t]], H, reverse = true)
q[0, t] = [f[t], b[t]]
repeat l in 1..L:
    q[l, t] = gru(q[l-1, t], 2 * H)
(k[t], c[t]) = lstm_cell(q[L, t], k[t-1], c[t-1], H)  where k[-1] = 0, c[<0] = 0
s[t] = dense(k[t] + f[last], C)
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
""",
]
NASTY = ["import", "__class__", "np", '"', "'", "\n", "\t", "\\", "\x00", "é", "∑", "²", "(", ")", "[", "]", "((((", "1e999",
         "9" * 500, "0x1",
         "1..", "..", ".", "^", "**", "@", "~", "<-", " <- ", "where", "lambda", "None", "True", "T", "t", "last", "batch", "B",
         "h[t+1]",
         "h[-1]", "[", "1/0", "0^-1", "-", "--", "not", "and", "param", "input x[t]", "model m", "repeat l in 1..9:\n",
         "fragment f(x) -> y:\n",
         "    ", "#", ";", ":", ",", "=", "==", "10^10^10", "sum[t]", "mean[batch]", "softmax[t](", "x.T.T", "a.b.c", '"k"',
         "\r\n", "\u2028"]


def harmless(text: str) -> None:
    """A system, or a ModelError that prints."""
    try:
        parse(text, "fuzz.nn")
    except ModelError as e:
        assert e.diagnostics and str(e)
        for d in e.diagnostics:
            assert d.span.line >= 1 and d.span.column >= 1 and d.message


slow = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("text", GOOD)
def test_the_seeds_are_good(text: str) -> None:
    parse(text)


@slow
@given(st.text(max_size=200))
def test_random_text(text: str) -> None:
    harmless(text)
    harmless("model m(D = 3)\ninput x[D]\ny = " + text)


@slow
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 12), st.sampled_from(NASTY)), max_size=3))
def test_mutated_models(text: str, edits: list[tuple[int, int, str]]) -> None:
    for at, cut, new in edits:
        at %= len(text) + 1
        text = text[:at] + new + text[at + cut:]
    harmless(text)


@slow
@given(st.sampled_from(GOOD), st.data())
def test_swapped_words(text: str, data: st.DataObject) -> None:
    """Words of a model in each other's places: grammatical, and mostly wrong."""
    import re
    words = list(re.finditer(r"[\w.]+|[^\w\s]", text))
    for _ in range(data.draw(st.integers(1, 3))):
        a, b = (data.draw(st.sampled_from(words)) for _ in range(2))
        text = text[:a.start()] + b[0] + text[a.end():]
        words = list(re.finditer(r"[\w.]+|[^\w\s]", text))
    harmless(text)


@slow
@given(st.sampled_from(GOOD), st.data())
def test_lines_lost_doubled_and_moved(text: str, data: st.DataObject) -> None:
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 3))):
        i, j = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match data.draw(st.integers(0, 2)):
            case 0:
                lines[i] = ""
            case 1:
                lines.insert(j, lines[i])
            case _:
                lines[i], lines[j] = lines[j], lines[i]
    harmless("\n".join(lines))


@pytest.mark.parametrize("text", [
    "y = " + "(" * 5000 + "1" + ")" * 5000, "y = " + "-" * 5000 + "1", "y = " + "1 + " * 5000 + "1", "y = " + "2^" * 3000 + "2",
    "y = " + "f(" * 3000 + ")" * 3000, "y = x" + "[0]" * 2000, "y = x" + ".T" * 2000, "y = " + "[" * 3000 + "]" * 3000,
    "a" * 10000 + " = 1", "y = " + "9" * 10000, "y = 1e99999", "\n" * 5000 + "y = ", "y = 10^10^10^10",
    "repeat l in 1..100000000:\n    y[l] = 1", "y = " + "not " * 3000 + "1", "y = " + "sum[batch] " * 500 + "x",
    "fragment f(x) -> y:\n    y = g(x)\nfragment g(x) -> y:\n    y = f(x)\nz = f(x)",
    "def f(x) = g(x)\ndef g(x) = f(x)\nz = f(x)",
])
def test_deep_long_and_huge(text: str) -> None:
    harmless("model m(D = 3, N = 4)\ninput x[D, D]\n" + text)


def test_a_chain_of_many_equations() -> None:
    harmless("model m(D = 3)\ninput x[D]\na0 = x\n" + "\n".join(f"a{i} = a{i - 1} + 1" for i in range(1, 900)))
    harmless("model m(D = 3)\ninput x[D]\n" + "\n".join(f"a{i} = a{i + 1} + 1" for i in range(900)) + "\na900 = x")


@pytest.mark.parametrize("name", ["x\u00b2", "\ufb01", "__import__", "a" * 101, "\u212b"])
def test_names_that_python_would_read_otherwise_are_refused(name: str) -> None:
    for text in (f"input {name}[D]", f"{name} = x", f"param {name}[D] = 0", f"metric {name} = sum(x)"):
        with pytest.raises(ModelError):
            parse("model m(D = 3)\ninput x[D]\n" + text + "\n")


def test_names_of_other_alphabets_are_welcome() -> None:
    assert "Größe" in parse("model m(D = 3)\ninput x[D]\nparam σ = 1\nGröße = σ * x\n").equations
