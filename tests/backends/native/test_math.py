"""Elementary functions in C: units in the last place against long doubles and mpmath, special values, which are printed."""

import re
import shutil
import subprocess

import mpmath
import numpy as np
import pytest
from chainrule.backends.native.prelude import PRELUDE, prelude

FUNCTIONS = {"exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh,
             "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
             "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))}
LOOPS = "".join(f"void f_{f}(const real *x, real *y, int64_t n) {{ SIMD for (int64_t i = 0; i < n; i++) y[i] = {f}_(x[i]); }}\n"
                for f in FUNCTIONS)
TYPES = [np.float32, np.float64]


def points(name, dtype, n):
    """Dense where the functions bend, then every magnitude down to the smallest subnormal, of both signs."""
    rng, ends = np.random.default_rng(0), (110, 1e-45, 1e38) if dtype == np.float32 else (750, 5e-324, 1e308)
    sizes = np.exp(rng.uniform(np.log(ends[1]), np.log(ends[2]), n))
    x = np.concatenate([np.linspace(-ends[0], ends[0], n), rng.uniform(-2, 2, n), rng.uniform(-20, 20, n), sizes, -sizes])
    x = x.astype(dtype)
    return x[x > 0] if name == "log" else x[x > -1] if name == "log1p" else x


def exact(name, x):
    """In a wider type than x."""
    with np.errstate(all="ignore"):
        if x.dtype == np.float32 or np.finfo(np.longdouble).eps < 1e-18:
            return FUNCTIONS[name](x.astype(np.float64 if x.dtype == np.float32 else np.longdouble))
    pytest.skip("needs a long double that is wider than a double")


@pytest.mark.native
@pytest.mark.parametrize("dtype", TYPES)
def test_at_most_two_units_in_the_last_place(dtype, library, call):
    lib = library(PRELUDE + LOOPS, dtype)
    for name in FUNCTIONS:
        x = points(name, dtype, 30_000)
        found = np.empty_like(x)
        call(getattr(lib, f"f_{name}"), x, found, len(x))
        want = exact(name, x)
        with np.errstate(over="ignore", under="ignore"):
            rounded = want.astype(dtype)
        np.testing.assert_array_equal(np.isfinite(found), np.isfinite(rounded), err_msg=name)
        held = np.isfinite(rounded)
        units = abs(found[held] - want[held]) / np.spacing(abs(rounded[held])).astype(want.dtype)
        worst = units.argmax()
        assert units[worst] <= 2, (name, x[held][worst], found[held][worst], float(units[worst]))


@pytest.mark.native
def test_against_many_digits(library, call):
    """A sample in double precision against 40 digits."""
    lib = library(PRELUDE + LOOPS, np.float64)
    other = {"exp": mpmath.exp, "expm1": mpmath.expm1, "log": mpmath.log, "log1p": mpmath.log1p, "tanh": mpmath.tanh,
             "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)), "softplus": lambda x: mpmath.log1p(mpmath.exp(x))}
    with mpmath.workdps(40):
        for name, f in other.items():
            x = points(name, np.float64, 60)
            x = x[abs(x) < 700]
            found = np.empty_like(x)
            call(getattr(lib, f"f_{name}"), x, found, len(x))
            for a, b in zip(x.tolist(), found.tolist(), strict=True):
                want = f(mpmath.mpf(a))
                assert abs(b - want) <= 2 * np.spacing(abs(float(want))), (name, a, b)


@pytest.mark.native
@pytest.mark.parametrize("dtype", TYPES)
def test_loops_over_them_are_vectorised(dtype, tmp_path):
    """Each alone, and together as a loss combines them: gcc says so of every loop."""
    said = subprocess.run(["gcc", "--version"], capture_output=True, text=True).stdout if shutil.which("gcc") else ""
    if "Free Software Foundation" not in said:
        pytest.skip("needs gcc, which says what it vectorised")
    loss = "y[i] = relu_(x[i]) + log1p_(exp_(-abs_(x[i]))) + sigmoid_(x[i]) / 3; "
    lines = [*LOOPS.splitlines(),
             f"void loss(const real *x, real *y, int64_t n) {{ SIMD for (int64_t i = 0; i < n; i++) {loss}}}"]
    path = tmp_path / "m.c"
    path.write_text(f"{'#define DOUBLE' if dtype == np.float64 else ''}\n{PRELUDE}" + "\n".join(lines) + "\n")
    first = len(path.read_text().splitlines()) - len(lines) + 1
    flags = ["-std=c11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fopt-info-vec"]
    command = ["gcc", *flags, "-c", str(path), "-o", str(tmp_path / "m.o")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = {int(n) for n in re.findall(r"m\.c:(\d+):\d+: optimized: loop vectorized", done.stderr)}
    assert found >= {*range(first, first + len(lines))}


@pytest.mark.native
@pytest.mark.parametrize("dtype", TYPES)
def test_special_values(dtype, library, call):
    lib = library(PRELUDE + LOOPS, dtype)
    x = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, -1.0, -2.0], dtype)
    for name, f in FUNCTIONS.items():
        found = np.empty_like(x)
        call(getattr(lib, f"f_{name}"), x, found, len(x))
        with np.errstate(all="ignore"):
            want = f(x)
        if name == "sigmoid":
            want[3] = 0                                          # where the formula divides infinities
        np.testing.assert_allclose(found, want, rtol=4 * np.finfo(dtype).eps, err_msg=name)
        if name in ("expm1", "log1p"):
            assert np.signbit(found[1])


def test_only_what_is_called_is_printed():
    """A function brings those that it calls, and no others; nothing of the numbers' tables is left to meet a model's names."""
    text = prelude("void f(real *x) { x[0] = sigmoid_(x[0]); }")
    defined = set(re.findall(r"^static inline \w+ (\w+)\(", text, re.M))
    assert {"sigmoid_", "exp_", "abs_"} <= defined
    assert not {"log_", "tanh_", "expmoment_"} & defined
    for name in re.findall(r"#define (\w+)\b(?! _Pragma)", PRELUDE):
        assert f"#undef {name}\n" in PRELUDE or name.startswith(("SIMD", "QUOTED", "APART")), name
