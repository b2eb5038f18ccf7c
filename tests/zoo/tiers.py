"""Parameters of tests in two tiers: a few in each run, all of them in the long one."""

import pytest


def tier(names, quick):
    """Names as parameters of a test, or groups of parameters; those that are not quick in the long tier."""
    groups = [(n, (n,) if isinstance(n, str) else n) for n in names]
    return [pytest.param(*group, id=" ".join(group), marks=() if n in quick else pytest.mark.full) for n, group in groups]
