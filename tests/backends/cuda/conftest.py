"""The tools of these tests are imported by name: `nvrtc`, `on_cpu` (kernels on the CPU), `standin` (for CuPy)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
