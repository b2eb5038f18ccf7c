"""The rows of the measurement on a GPU, the telling ones first, and small ones for a trial on the CPU."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from tests.bench import custom, energies, feedforward, images, recurrent
from tests.bench.work import Work


def feed(name: str, classes: int, batch: int) -> Work:
    work = feedforward.ROWS[name]
    title = f"{work.title.partition(',')[0]}, batch {batch}"
    return replace(work, title=title, data=feedforward.images(classes, batch), optimisers=("sgd",), target=0.7)


CELLS = {"LSTM": (recurrent.LSTM, 4), "GRU": (recurrent.GRU, 3)}


def cell(kind: str, hidden: int, steps: int, batch: int) -> Work:
    text, gates = CELLS[kind]
    return recurrent.row(kind.lower(), kind, text, hidden, gates, batch, steps, 0.9)


def cells(kind: str) -> Iterable[tuple[str, Work]]:
    """A cell by its sizes, the small ones first."""
    for steps in (64, 512):
        for batch in (32, 128):
            for hidden in (256, 512, 1024):
                yield f"{kind.lower()}_{hidden}_{steps}_{batch}", cell(kind, hidden, steps, batch)


SIZES = "H 256, 512, 1024, T 64, 512, batch 32, 128, V 65"
GROUPS: dict[str, dict[str, Work]] = {                   # by their titles
    "MLP 784-512-256-10, batch 128, 4096": {f"mlp_{n}": feed("mlp", 10, n) for n in (128, 4096)},
    "autoencoder 784-256-64-256-784, batch 128, 4096": {f"autoencoder_{n}": feed("autoencoder", 0, n) for n in (128, 4096)},
    "custom": {"custom": replace(custom.ROWS["custom"], target=0.3)},
    "cnn": {"cnn": replace(images.ROWS["cnn"], target=1.0)},
    "rbm": {"rbm": replace(energies.ROWS["rbm"], target=0.7)},
    f"LSTM {SIZES}": dict(cells("LSTM")), f"GRU {SIZES}": dict(cells("GRU"))}
ROWS = {name: work for group in GROUPS.values() for name, work in group.items()}
SMALL = custom.TEXT.replace("H = 256", "H = 8")
TRIAL: dict[str, Work] = {
    "mlp_trial": feed("mlp", 10, 4), "lstm_trial": cell("LSTM", 6, 3, 2), "gru_trial": cell("GRU", 6, 3, 2),
    "custom_trial": replace(custom.ROWS["custom"], model=SMALL, data=recurrent.characters(2, 3)),
    "cnn_trial": replace(images.ROWS["cnn"], data=images.images(2, 1, 28)), "rbm_trial": energies.ROWS["rbm"]}
WORK = {**ROWS, **TRIAL}
BOTH = ("custom", "custom_trial")                        # measured with the loop over time in one launch, and step by step
FIRST = ("mlp_128", "lstm_256_64_32", "custom", "gru_256_64_32", "cnn", "rbm", "lstm_1024_64_128", "autoencoder_128", "mlp_4096",
         "lstm_512_64_32", "gru_1024_64_128", "lstm_256_512_32", "autoencoder_4096")
ORDER = (*FIRST, *(name for name in ROWS if name not in FIRST))
