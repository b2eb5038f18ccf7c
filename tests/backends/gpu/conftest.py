"""The tools of these tests are imported as `gpu`: `gpu.nvrtc`, `gpu.host`, `gpu.standin`, `gpu.ptx`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
