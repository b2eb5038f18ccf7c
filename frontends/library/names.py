"""Names of parameters in other libraries' files, where they differ from those of the library's fragments."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

Array = TypeVar("Array")
_LAYER = re.compile(r"(?P<module>.+)\.(?P<parameter>\w+?)_l(?P<layer>\d+)(?P<direction>_reverse)?")


def layers(arrays: Mapping[str, Array], places: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """PyTorch's names of a deep nn.LSTM, nn.GRU or nn.RNN, with each layer under the path of its own fragment.

    `{"rnn": ("h1", "h2")}` renames `rnn.weight_hh_l1_reverse` to `h2.weight_hh_l0_reverse`; other names stay.
    ValueError where a module has another number of layers than there are places.
    """
    out: dict[str, Array] = {}
    found: dict[str, int] = {}
    for name, array in arrays.items():
        m = _LAYER.fullmatch(name)
        if m is None or m["module"] not in places:
            out[name] = array
            continue
        k, paths = int(m["layer"]), places[m["module"]]
        found[m["module"]] = max(found.get(m["module"], 0), k + 1)
        if k < len(paths):
            out[f"{paths[k]}.{m['parameter']}_l0{m['direction'] or ''}"] = array
    for module, paths in places.items():
        if found.get(module, 0) != len(paths):
            raise ValueError(f"{module} has {found.get(module, 0)} layers in the file, and {len(paths)} places are named for it: "
                             f"{', '.join(paths)}")
    return out
