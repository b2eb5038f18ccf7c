"""`chainrule cache`: the compiled models that are kept."""

from __future__ import annotations

import shutil

from ...backends.native.build import cache_folder
from .common import console


def cache(clear: bool) -> None:
    """Say where compiled models are kept and how much they take; `clear` removes them, and nothing else."""
    folder = cache_folder()
    found = [p for pattern in ("*-" + "[0-9a-f]" * 24 + ".so", "*-" + "[0-9a-f]" * 24 + ".c") for p in folder.glob(pattern)]
    count, size = sum(p.suffix == ".so" for p in found), sum(p.stat().st_size for p in found) / 1e6
    if clear:
        for p in found:
            p.unlink(missing_ok=True)
        for p in folder.glob("making-*"):
            shutil.rmtree(p, ignore_errors=True)
    console().print(f"{folder}: {count} compiled model{'s' * (count != 1)}, {size:.1f} MB{', removed' * clear}", markup=False,
                    soft_wrap=True)
