"""Random models, and what they were reduced to where wrong, all backends against the interpreter; see `random_checks`."""

import numpy as np
import pytest
from chainrule.compiler.graph import Intercept
from chainrule.frontends.language import parse
from gpu import host, random_checks
from zoo.found import FOUND
from zoo.random_models import text

QUICK, MANY = (6, 28, 64), range(60)
COMPARED = {"agrees", "kink", "rounding"}
pytestmark = pytest.mark.skipif(host.compiler() is None, reason=host.MISSING)


@pytest.fixture(autouse=True)
def unchecked():
    """What overflows in float32 is compared, not warned of."""
    with np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("seed", QUICK)
def test_a_random_model(seed):
    assert random_checks.agrees(text(seed), seed, c=False, cuda=False) == "agrees"


@pytest.mark.full
@pytest.mark.parametrize("seed", MANY)
def test_a_random_model_in_all_backends(seed):
    ended = random_checks.agrees(text(seed), seed, cuda=seed % 3 == 0)
    if ended == "refused":
        pytest.skip("this model is refused, with a place and a reason")
    assert ended in COMPARED


def test_most_random_models_can_be_read():
    assert sum(random_checks.system_of(text(seed)) is not None for seed in range(30)) > 25


@pytest.mark.parametrize("name", FOUND)
def test_a_model_that_was_wrong(name):
    assert random_checks.agrees(FOUND[name], seed=4, c=False, cuda=False) == "agrees"


@pytest.mark.full
@pytest.mark.parametrize("name", FOUND)
def test_a_model_that_was_wrong_in_all_backends(name):
    for seed in range(3):
        assert random_checks.agrees(FOUND[name], seed) in COMPARED


def test_surgery_of_a_fragments_result_acts_once():
    h = parse(FOUND["the gradient of a fragment's result, changed"]).equations["h"]
    assert isinstance(h, Intercept) and not isinstance(h.args[0], Intercept)
