"""Measures of energy models, against brute force and against each other."""

import numpy as np
import pytest
from chainrule.compiler.energy import EnergyError
from chainrule.frontends.energy import Measures
from zoo.energies import CASES, rbm

DISCRETE = ["binary", "spin", "spin-binary", "categorical", "binary-gaussian", "semi-restricted"]


def data(case, count=9):
    v = case.points(True)[0]
    return v[np.random.default_rng(1).integers(len(v), size=count)]


@pytest.mark.parametrize("name", [*DISCRETE, "gaussian", "learned variance"])
def test_exact_log_z_and_likelihood(name):
    case = CASES[name]()
    measures, v = Measures(case.system), data(case)
    assert measures.log_z(case.params) == pytest.approx(case.log_z(case.params), abs=1e-10)
    expected = -(case.free(v, case.params)).mean() - case.log_z(case.params)
    assert measures.log_likelihood(case.params, v=v) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("name", ["binary", "spin", "categorical", "gaussian", "learned variance", "binary-gaussian"])
def test_annealing_within_its_error_bar(name):
    case = CASES[name]()
    found = Measures(case.system).annealed(case.params, betas=150, chains=400, seed=2)
    assert 0 < found.error < 0.1
    assert abs(found.log_z - case.log_z(case.params)) < 4 * found.error


def test_annealing_of_a_larger_machine():
    """At 12 hidden and 16 visible units with strong couplings, where single chains go far astray."""
    case = rbm()
    case.system.sizes.update(D=16, H=12)
    measures = Measures(case.system)
    params = {k: 1.5 * w for k, w in case.params.items()}
    found = measures.annealed(params, betas=600, chains=200)
    assert abs(found.log_z - measures.log_z(params)) < 4 * found.error < 1
    again = measures.annealed(params, betas=600, chains=200)
    assert again.log_z == found.log_z


@pytest.mark.parametrize("name", ["binary", "spin", "semi-restricted"])
def test_pseudo_likelihood(name):
    """The mean over a whole cycle is the pseudo-log-likelihood by brute force."""
    case = CASES[name]()
    v, p = data(case), case.params
    measures = Measures(case.system)
    found = np.mean([measures.pseudo_likelihood(p, step=k, v=v) for k in range(3)])
    expected = 0.0
    for i in range(3):
        flipped = v.copy()
        flipped[:, i] = 1 - v[:, i] if name != "spin" else -v[:, i]
        both = np.stack([-case.free(v, p), -case.free(flipped, p)])
        expected += (both[0] - np.logaddexp(*both)).mean()
    assert found == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize(("options", "sentence"), [({"chains": 1}, "needs at least 2 chains, not 1"),
                                                   ({"betas": 0}, "increase from 0 to 1"), ({"betas": [0, 0.5]}, "from 0 to 1")])
def test_annealing_refuses(options, sentence):
    case = CASES["binary"]()
    with pytest.raises(ValueError, match=sentence):
        Measures(case.system).annealed(case.params, **options)


def test_pseudo_likelihood_needs_units_that_flip():
    with pytest.raises(ValueError, match="flips binary or spin units, and v is gaussian"):
        Measures(CASES["gaussian"]().system).pseudo_likelihood(CASES["gaussian"]().params, v=np.zeros((1, 2)))


def test_reconstruction_error():
    case = CASES["binary"]()
    v, p = data(case), case.params
    h = 1 / (1 + np.exp(-(v @ p["W"].T + p["c"])))
    back = 1 / (1 + np.exp(-(h @ p["W"] + p["b"])))
    assert Measures(case.system).reconstruction_error(p, v=v) == pytest.approx(((v - back) ** 2).mean(), abs=1e-12)


def test_too_many_units_for_enumeration():
    case = rbm()
    case.system.sizes.update(D=30, H=21)
    with pytest.raises(EnergyError, match=r"adds up 2\^21 configurations of h, and at most 2\^20 can be enumerated"):
        Measures(case.system).log_z(case.params)
