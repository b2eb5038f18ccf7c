"""Every row of the benchmark, by name."""

from tests.bench import adbench, custom, energies, feedforward, images, recurrent
from tests.bench.work import Work

WORK: dict[str, Work] = {**feedforward.ROWS, **recurrent.ROWS, **custom.ROWS, **images.ROWS, **energies.ROWS,
                          **adbench.ROWS}
