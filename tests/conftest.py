"""One copy of the package: under any folder name, the root is `chainrule`, or interning would break."""

import sys
from pathlib import Path

import chainrule

sys.modules.setdefault(Path(__file__).resolve().parents[1].name, chainrule)
sys.path.insert(0, str(Path(__file__).resolve().parent))         # the systems in tests/zoo are imported as `zoo`
