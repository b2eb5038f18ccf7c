"""The same bytes in every process, under every hash seed, and every time."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import chainrule as cr
import pytest
from chainrule.backends.cpu.program import Program
from zoo.catalogue import ZOO

TESTS = Path(__file__).resolve().parent
EXAMPLES = sorted(TESTS.parent.glob("examples/*/model.nn"))
PRINT = """
import hashlib, sys
sys.path[:0] = [{tests!r}]
import chainrule as cr
from chainrule.backends.cpu.program import Program
from zoo.catalogue import ZOO
for name, build in ZOO.items():
    for level in (0, 1):
        print(name, level, hashlib.sha256(Program(build(), "float32", level).source.encode()).hexdigest())
for path in {examples!r}:
    model = cr.load(path)
    text = str(model) + model.compile().source + str(model.gradient())
    print(path, hashlib.sha256(text.encode()).hexdigest())
"""


def printed(seed):
    """What a process under one hash seed prints."""
    code = PRINT.format(tests=str(TESTS), examples=[str(p) for p in EXAMPLES])
    where = {**os.environ, "PYTHONHASHSEED": str(seed), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_two_processes_print_the_same_bytes():
    first, second = printed(1), printed(4242)
    assert len(first) == 2 * len(ZOO) + len(EXAMPLES)
    assert [a for a, b in zip(first, second, strict=True) if a != b] == []


@pytest.mark.parametrize("name", ZOO)
def test_compiling_again_prints_the_same_bytes(name):
    """With the nodes interned by then, and with other systems compiled between."""
    first = Program(ZOO[name](), "float32").source
    Program(ZOO["pooling"]())
    assert Program(ZOO[name](), "float32").source == first


def test_a_model_compiled_twice_is_not_changed():
    for path in EXAMPLES:
        model = cr.load(path)
        before = str(model)
        first = hashlib.sha256(model.compile().source.encode()).hexdigest()
        assert hashlib.sha256(model.compile().source.encode()).hexdigest() == first
        assert str(model) == before
