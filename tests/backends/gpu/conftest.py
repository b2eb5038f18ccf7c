"""The tools of these tests are imported as `gpu`: `gpu.nvrtc`, `gpu.host`, `gpu.standin`, `gpu.ptx`."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


@pytest.fixture(autouse=True)
def optimised(request, monkeypatch):
    """Kernels on the CPU, in the long tier alone: in the others compiling takes longer than running."""
    from gpu import host
    if not request.node.get_closest_marker("full"):
        monkeypatch.setenv(host.LEVEL, "-O0")
