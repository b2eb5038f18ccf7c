"""The loop: epochs of batches, validation, early stopping, checkpoints, and what happens when a loss is no number."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .batches import Batch, Batches, Chunks, Piece, evaluation, take
from .data import Dataset
from .energies import WATCHED, Watch, chains
from .errors import NotFinite, OptionError, WeightsError
from .ragged import Part
from .run import Arrays, Options, Program, Run, check_fit, fingerprint, load_run, save_run
from .schedules import check_schedule, rate_factor
from .time import averages_steps, timed_inputs

Moved = Callable[[Arrays], Arrays]                               # arrays brought to a device, or back

Array = np.ndarray[Any, Any]
Diagnose = Callable[[Arrays, Batch, int, Arrays], str]
CHECKPOINT = "checkpoint.safetensors"


class Progress:
    """What watches a run; this one is silent."""

    def start(self, trainer: Trainer) -> None: ...
    def step(self, run: Run, loss: float, rate: float) -> None: ...
    def epoch(self, run: Run) -> None: ...
    def stop(self) -> None: ...


@dataclass
class Outcome:
    """How a run ended: status is `finished`, `stopped early` or `interrupted`; `params` are the best weights."""

    status: str
    params: Arrays
    run: Run
    results: dict[str, dict[str, float]] = field(default_factory=dict)


READ = 0.1                                                       # as often as progress is shown


@dataclass
class Trainer:
    """Trains a program on a dataset.

    `out` is the folder of the checkpoint (None: none is written); `save_every` how many seconds may be lost by a crash;
    `diagnose(params, inputs, step, carry)` says which equation is not finite; `extra` is JSON that the checkpoint keeps for the
    caller. What the trainer needs to know of time it reads off the program's system: how chunks are cut (which `options` then
    say, too), and whether the loss is an average over steps, so that averages over batches are.
    """

    program: Program
    data: Dataset
    options: Options = field(default_factory=Options)
    out: Path | None = None
    progress: Progress = field(default_factory=Progress)
    diagnose: Diagnose | None = None
    save_every: float = 30.0
    extra: dict[str, Any] = field(default_factory=dict)
    timed: frozenset[str] = field(init=False, default=frozenset())
    by_token: bool = field(init=False, default=False)
    watch: Watch | None = field(init=False, default=None)
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        system = getattr(self.program, "system", None)
        if system is not None:
            self.options = replace(self.options, truncate=system.training.truncate or 0)
            self.timed, self.by_token = timed_inputs(system), averages_steps(system)
            self.watch = Watch(system) if system.energy is not None else None
        check_schedule(self.options.schedule, dict(self.options.schedule_options))
        if self.options.patience is not None and not self.data.count("validation"):
            raise OptionError("patience needs a validation part: split a / b / c is training, validation and test")
        train, o = self.data.parts["train"], self.options
        self._plan = Chunks(train, o.batch, o.seed, o.truncate, self.timed, self.data.stream) if o.truncate \
            else Batches(train, o.batch, o.seed)
        self.n, self.batch, self.batches = self._plan.n, self._plan.batch, self._plan.steps
        self._workspace = self.program.Workspace()
        self._there: Moved = getattr(self.program, "to_device", _same)       # where parameters and state are while it trains
        self._here: Moved = getattr(self.program, "to_host", _same)
        self._stop = False
        self._saved_at = self._read_at = time.monotonic()
        self._patience = READ if hasattr(self.program, "to_host") else 0.0       # seconds for which losses may stay unread
        self._unread: list[tuple[Any, int, float]] = []
        self._rated: tuple[Any, float] = (None, 0.0)             # the array of the rate, and what it was set to

    # ------------------------------------------------------------ starting

    def start(self, params: Arrays | None = None) -> None:
        """A new run, from `params` or from the declared initialisers."""
        params = self._there(self.program.init(seed=self.options.seed) if params is None else params)
        state = self._state(params)
        self.run = Run(params, state, rate=float(str(self._here(state["lr"]))))        # of a float32 the number as it is written

    def changed(self, change: Callable[[Arrays], Any]) -> Any:
        """What a change of the parameters gives, which sees them as arrays of NumPy and works in place."""
        params = self._here(self.run.params)
        found = change(params)
        self.run.params = self._there(params)
        return found

    def resume(self) -> None:
        """The run of the checkpoint; refused where model, data, batch or seed are not those that it was started with."""
        path = self.checkpoint
        if path is None or not path.is_file():
            raise WeightsError(f"there is no checkpoint {path}: nothing to resume")
        run, options, extra = load_run(path)
        fresh = self.program.init(seed=self.options.seed)
        check_fit(path, run, fresh, self._state(fresh))
        if replace(options, epochs=self.options.epochs) != self.options:
            changed = [f"{k} = {getattr(options, k)}" for k in vars(options) if k != "epochs"
                       and getattr(options, k) != getattr(self.options, k)]
            raise OptionError(f"{path} was started with {', '.join(changed)}; a resumed run keeps what it was started with")
        if extra.get("data") != fingerprint(self.data.parts["train"]):
            raise WeightsError(f"{path} was trained on other data than these")
        self.run = self._moved(run, self._there)

    @staticmethod
    def _moved(run: Run, to: Moved) -> Run:
        """A run whose parameters and state are elsewhere; what a chunk starts from a step takes from anywhere."""
        return replace(run, params=to(run.params), state=to(run.state))

    def _state(self, params: Arrays) -> Arrays:
        """What a step keeps; there are as many persistent chains as examples in a batch, unless the model says so."""
        return self.program.init_state(params, seed=self.options.seed, **chains(self.program, self.batch))

    @property
    def checkpoint(self) -> Path | None:
        return None if self.out is None else self.out / CHECKPOINT

    # ------------------------------------------------------------ the loop

    def train(self) -> Outcome:
        """Run to the end, or until Ctrl-C; NotFinite where the loss or a parameter stops being a number."""
        self._fingerprint = fingerprint(self.data.parts["train"])
        self._require_finite("before the first step")
        self.save()
        began = time.monotonic() - self.run.seconds
        self.progress.start(self)
        try:
            with self._interruptible():
                while self.run.epoch < self.options.epochs and not self.run.stopped and not self._stop:
                    self._epoch(began)
        finally:
            self.progress.stop()
        self._require_finite("in the last step")
        self.save()
        done = self.run.epoch >= self.options.epochs
        status = "stopped early" if self.run.stopped else "finished" if done else "interrupted"
        return Outcome(status, self.run.best or self._here(self.run.params), self.run)

    def _epoch(self, began: float) -> None:
        run = self.run
        while run.position < self.batches:
            self._unread.append(self._step(run))
            now = time.monotonic()
            due = now - self._saved_at >= self.save_every
            if self._stop or due or run.position == self.batches or now - self._read_at >= self._patience:
                self._read(run)
            run.seconds = time.monotonic() - began
            if self._stop:
                self._read(run)
                return
            if due:
                self._require_finite("in training")
                self.save()
        self._finish_epoch()

    def _read(self, run: Run) -> None:
        """The losses since the last reading: it waits for a device, whose steps are launched ahead of it."""
        unread, self._unread = self._unread, []
        for found, size, rate in unread:
            loss = float(found)
            run.total += loss * size
            run.count += size
            if not math.isfinite(loss):
                self._fail()
            self.progress.step(run, loss, rate)
        self._read_at = time.monotonic()

    def _step(self, run: Run) -> tuple[Any, int, float]:
        """One batch; the loss before the update, which may be on a device, what it counts for, and the rate."""
        piece = self._piece(run)
        step = run.epoch * self.batches + run.position
        factor = rate_factor(self.options.schedule, dict(self.options.schedule_options), step,
                             self.options.epochs * self.batches, self.batches)
        rate = run.rate * factor
        set_, last = self._rated
        if not self._patience or set_ is not run.state["lr"] or last != rate:    # on a device, setting it is a launch
            run.state["lr"][...] = rate
            self._rated = (run.state["lr"], rate)
        with np.errstate(all="ignore"):              # what overflows shows in the loss, which is checked
            if self.options.truncate:
                found, run.carry = self.program.train_step(run.params, run.state, workspace=self._workspace,
                                                           carry=self._carry(run, piece), **piece.arrays)
            else:
                found = self.program.train_step(run.params, run.state, workspace=self._workspace, **piece.arrays)
        run.position += 1
        return found, piece.tokens if self.by_token else piece.examples, rate

    def _piece(self, run: Run) -> Piece:
        """What the next step sees."""
        return self._plan.at(run.epoch, run.position)

    def _carry(self, run: Run, piece: Piece) -> Arrays | None:
        """The state that a chunk starts from; None where its sequences begin."""
        return None if piece.fresh else run.carry

    def take(self, rows: Any) -> Batch:
        """The training arrays of these examples; of all, without a copy, for None."""
        return take(self.data.parts["train"], rows)

    def _finish_epoch(self) -> None:
        run = self.run
        run.epoch += 1
        row = {"epoch": float(run.epoch), "rate": float(str(self._here(run.state["lr"]))), "train": run.total / run.count}
        run.position, run.total, run.count, run.carry = 0, 0.0, 0, {}
        if self.data.count("validation"):
            result = self.evaluate("validation", run.params)
            if self.watch is not None:
                result["loss"] = self.watch.loss(result)
            row.update({"validation" if k == "loss" else f"validation_{k}": v for k, v in result.items() if k != "penalty"})
            if row["validation"] < run.best_loss:
                run.best_loss, run.best_epoch = row["validation"], run.epoch
                run.best = {name: a.copy() for name, a in self._here(run.params).items()}
            patience = self.options.patience
            run.stopped = patience is not None and run.epoch - run.best_epoch >= patience
        elif self.watch is not None:
            row.update(self.watch(self._here(run.params), self.pieces("train"), WATCHED))
        row["seconds"] = run.seconds
        run.history.append(row)
        self.progress.epoch(run)

    def pieces(self, part: str) -> Iterator[Piece]:
        """Every example of a part once, in batches for evaluation."""
        return evaluation(self.data.parts[part], self.batch if self.batch < self.n or self.data.stream else 0,
                          self.options.truncate, self.timed, self.data.stream)

    def evaluate(self, part: str, params: Arrays) -> dict[str, float]:
        """Loss, penalty and metrics of a part, averages combined over batches by their counts; an energy's measures."""
        if self.watch is not None:
            return self.watch(self._here(params), self.pieces(part))
        return combine(self.program, params, self.pieces(part), bool(self.options.truncate))

    # ------------------------------------------------------------ saving and stopping

    def save(self) -> None:
        """The state as it stands is the last good one: in memory, and on the disk where there is a folder."""
        self._good = replace(self._moved(self.run, self._here), carry=self._here(self.run.carry)).copy()
        if self.checkpoint is not None:
            save_run(self.checkpoint, self._good, self.options, {**self.extra, "data": self._fingerprint})
        self._saved_at = time.monotonic()

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the run after the current step; a second one ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.getsignal(signal.SIGINT)

        def stop(number: int, frame: Any) -> None:
            self._stop = True
            signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    # ------------------------------------------------------------ what is not finite

    def _require_finite(self, when: str) -> None:
        bad = _not_finite(self._here(self.run.params))
        if bad:
            if not hasattr(self, "_good"):
                raise NotFinite(f"parameter {bad} is not finite {when}")
            self._fail()

    def _fail(self) -> None:
        """Repeat the steps since the last good state, bit for bit, and say where the first value went wrong."""
        run = self._moved(self._good.copy(), self._there)
        self.run = self._good
        while run.epoch < self.options.epochs:
            if run.position >= self.batches:
                run.epoch, run.position = run.epoch + 1, 0
                continue
            before, piece = {k: v.copy() for k, v in self._here(run.params).items()}, self._piece(run)
            carry = self._carry(run, piece)
            at = f"step {run.epoch * self.batches + run.position + 1} (epoch {run.epoch + 1})"
            loss = float(self._step(run)[0])
            if not math.isfinite(loss):
                why = self._explain(before, piece, int(run.state["step"]) - 1, carry)
                raise NotFinite(self._report(f"the loss became {loss} at {at}", why))
            bad = _not_finite(self._here(run.params))
            if bad:
                wrong = self._gradient_is_bad(before, piece, carry, bad)
                why = "its gradient is not finite" if wrong else "its update is not finite"
                raise NotFinite(self._report(f"parameter {bad} stopped being finite at {at}, the loss being {loss:.6g}", why))
        raise NotFinite(self._report("the loss stopped being finite", "the same steps, repeated, gave finite values"))

    def _explain(self, params: Arrays, piece: Piece, step: int, carry: Arrays | None) -> str:
        return self.diagnose(params, piece.arrays, step, carry or {}) if self.diagnose else ""

    def _gradient_is_bad(self, params: Arrays, piece: Piece, carry: Arrays | None, name: str) -> bool:
        if self.watch is not None:
            return False
        more = {"carry": carry} if self.options.truncate else {}
        with np.errstate(all="ignore"):
            grads = self.program.loss_and_grads(params, **piece.arrays, **more)[1]
        return name in grads and not np.isfinite(grads[name]).all()

    def _report(self, what: str, why: str) -> str:
        good = self._good
        kept = ""
        if self.checkpoint:
            kept = f"; the last good checkpoint is {self.checkpoint}, after step {good.epoch * self.batches + good.position}"
        return f"training stopped: {what}{': ' + why if why else ''}{kept}"


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _not_finite(params: Mapping[str, Array]) -> str:
    """The first parameter that holds a value that is not finite, or ''."""
    return next((name for name, a in params.items() if a.dtype.kind == "f" and not np.isfinite(a).all()), "")


def evaluate(program: Program, params: Arrays, arrays: Part, batch: int = 0) -> dict[str, float]:
    """{"loss", "penalty" where there is one, metrics} of whole examples."""
    return combine(program, params, evaluation(arrays, batch))


def combine(program: Program, params: Arrays, pieces: Iterable[Piece], carried: bool = False) -> dict[str, float]:
    """The same over pieces: sums and counts combined; `carried` hands the state from a chunk to the next."""
    sums: dict[str, tuple[float, float]] = {}
    penalty, carry = 0.0, None
    for piece in pieces:
        more = {"carry": None if piece.fresh else carry} if carried else {}
        result = program.evaluate(params, **piece.arrays, **more)
        carry = result.pop("carry", None)
        for name, value in result.items():
            if name == "penalty":
                penalty = float(value)
            else:
                total, count = sums.get(name, (0.0, 0.0))
                sums[name] = (total + float(value[0]), count + float(value[1]))
    means = {name: total / count if count else float("nan") for name, (total, count) in sums.items()}
    return {**means, "penalty": penalty} if penalty else means
