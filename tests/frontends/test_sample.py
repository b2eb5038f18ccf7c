"""`chainrule sample`: text from weights that were trained a moment ago, and mistakes as sentences."""

import numpy as np
import pytest
from chainrule.frontends import cli
from typer.testing import CliRunner

LANGUAGE = """model m(V = 9, H = 8)
input  x[t] : class(V)
target y[t] : class(V)
param  W[H, V], U[H, H], Y[V, H] ~ xavier
h[t] = tanh(W @ onehot(x[t]) + U @ h[t-1])        where h[-1] = 0
s[t] = Y @ h[t]
loss = mean[batch, t] cross_entropy(softmax(s[t]), y[t])
feedback x[t+1] ~ categorical(softmax(s[t] / temperature))
"""
TEXT = LANGUAGE + """data  text(chars, "t.txt"): x, y = x[t+1], split 800 / 100 / 0
train adam(lr = 0.05), epochs = 6, batch = 4, truncate = 10
"""
NAMES = LANGUAGE.replace("target", "lengths t\ntarget") + """data  lines("n.txt"): x = framed(line), y = x[t+1]
train adam(lr = 0.05), epochs = 40, batch = 8
"""
PAIRS = """model p(V = 11, H = 6)
input  x[s] : class(V)
input  d[t] : class(V)
target y[t] : class(V)
lengths s
lengths t
param  A[H, V], B[H, V], U[H, H], R[H, H], Y[V, H] ~ xavier
e[s] = tanh(A @ onehot(x[s]) + U @ e[s-1])        where e[-1] = 0
h[t] = tanh(B @ onehot(d[t]) + R @ h[t-1])        where h[-1] = e[last]
p[t] = Y @ h[t]
loss = mean[batch, t] cross_entropy(softmax(p[t]), y[t])
feedback d[t+1] ~ categorical(softmax(p[t] / temperature))
data  addition(digits = 1, n = 100): x = chars(question), d = framed(answer), y = d[t+1]
train adam(lr = 0.01), epochs = 2, batch = 10
"""


def run(*args, status=0):
    result = CliRunner().invoke(cli.app, [str(a) for a in args])
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three models, trained for a moment."""
    path = tmp_path_factory.mktemp("sample")
    (path / "t.txt").write_text("abcdefgh " * 100)
    (path / "n.txt").write_text("abc\ndef\n" * 20)
    with pytest.MonkeyPatch.context() as m:
        m.chdir(path)
        for name, text in (("text", TEXT), ("names", NAMES), ("pairs", PAIRS)):
            (path / f"{name}.nn").write_text(text)
            run("train", f"{name}.nn", "--out", name)
        yield path


def sample(name, *args, status=0):
    return run("sample", f"{name}.nn", "--weights", f"{name}/weights.safetensors", *args, status=status)


def test_text_goes_on_from_a_prompt(folder):
    assert sample("text", "--prompt", "cde", "--length", 12, "--temperature", 0).startswith("cdefgh abcdefgh")
    once = sample("text", "--length", 30, "--seed", 3, "--temperature", 2)
    assert once == sample("text", "--length", 30, "--seed", 3, "--temperature", 2) and len(once) == 31
    assert once != sample("text", "--length", 30, "--seed", 4, "--temperature", 2)


def test_names_begin_and_end_by_themselves(folder):
    words = sample("names", "--count", 6, "--temperature", 0.3).split()
    assert len(words) == 6 and set(words) == {"abc", "def"}
    assert sample("names", "--prompt", "d", "--temperature", 0.1) == "def\n"


def test_a_decoder_reads_its_question(folder):
    text = sample("pairs", "--input", "x=3+4", "--count", 2, "--length", 4)
    assert len(text.splitlines()) == 2 and set(text) <= set("0123456789\n")


@pytest.mark.parametrize("name,args,says", [
    ("text", ["--prompt", "ab?"], "input x: '?', character 3 of 'ab?', is not in the vocabulary of 9"),
    ("text", ["--temperature", "-1"], "a number of at least 0"), ("text", ["--length", 0], "at least 1"),
    ("text", ["--input", "q=a"], "the model has no such input"), ("text", ["--input", "q"], "write INPUT=TEXT"),
    ("pairs", ["--input", "x=1+y"], "input x: 'y', character 3 of '1+y'"),
    ("names", ["--weights", "none"], "there is no file none"),
    ("pairs", [], "x")])
def test_sample_refuses(folder, name, args, says):
    assert says in sample(name, *args, status=1)


def test_a_model_without_feedback_generates_nothing(folder):
    (folder / "plain.nn").write_text(TEXT.replace("feedback x[t+1] ~ categorical(softmax(s[t] / temperature))\n", ""))
    text = run("sample", "plain.nn", "--weights", "text/weights.safetensors", status=1)
    assert "model m has no feedback line" in text


def test_numbers_where_there_is_no_vocabulary(folder):
    np.savez(folder / "g.npz", x=np.arange(60).reshape(6, 10) % 9)
    (folder / "n9.nn").write_text(LANGUAGE + 'data npz("g.npz"): x, y = x[t+1]\ntrain adam(lr = 0.01), epochs = 1, batch = 2\n')
    run("train", "n9.nn", "--out", "n9")
    text = run("sample", "n9.nn", "--weights", "n9/weights.safetensors", "--prompt", "1,2", "--length", 3)
    assert text.startswith("[1, 2, ") and text.count(",") == 4
