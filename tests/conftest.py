"""One copy of the package: under any folder name, the root is `chainrule`, or interning would break."""

import os
import sys
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:                          # workers share the processors; before NumPy is imported
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import chainrule

# pytest imports the root's __init__.py under its folder's name; under its own where that is no identifier (chainrule-main)
for name in (Path(__file__).resolve().parents[1].name, "__init__"):
    sys.modules.setdefault(name, chainrule)
sys.path.insert(0, str(Path(__file__).resolve().parent))         # the systems in tests/zoo are imported as `zoo`
