"""Learning-rate schedules."""

import pytest
from chainrule.frontends.trainer.errors import OptionError
from chainrule.frontends.trainer.schedules import check_schedule, rate_factor


@pytest.mark.parametrize("name,options,step,factor", [
    ("constant", {}, 70, 1), ("cosine", {}, 0, 1), ("cosine", {}, 50, 0.5), ("cosine", {}, 100, 0),
    ("cosine", {"floor": 0.2}, 50, 0.6),
    ("linear", {}, 25, 0.75), ("linear", {"floor": 0.5}, 100, 0.5), ("step", {"every": 2, "factor": 0.1}, 19, 1),
    ("step", {"every": 2, "factor": 0.1}, 20, 0.1), ("step", {"every": 2, "factor": 0.1}, 45, 0.01),
    ("exponential", {"factor": 0.5}, 30, 0.125), ("exponential", {"factor": 0.5}, 5, 0.5 ** 0.5),
    ("warmup", {"steps": 9}, 4, 0.5), ("warmup", {"steps": 9}, 9, 1), ("cosine", {"warmup": 20}, 9, 10 / 21),
    ("cosine", {"warmup": 20}, 60, 0.5)])
def test_the_rate(name, options, step, factor):
    """Of 100 steps, 10 an epoch."""
    check_schedule(name, options)
    assert rate_factor(name, options, step, 100, 10) == pytest.approx(factor)


@pytest.mark.parametrize("name,options,says", [
    ("cosin", {}, "did you mean 'cosine'?"), ("step", {"evry": 3.0}, "did you mean 'every'?"),
    ("constant", {"floor": 1.0}, "no option 'floor'")])
def test_mistakes(name, options, says):
    with pytest.raises(OptionError) as e:
        check_schedule(name, options)
    assert says in str(e.value)
