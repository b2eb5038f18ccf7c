"""`chainrule sample`: what trained weights generate, as text where they hold a vocabulary; chains of an energy model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...compiler.graph import GraphError
from ..trainer.errors import OptionError, RunError, did_you_mean
from ..trainer.spelling import END, SPELLINGS, joined
from ..trainer.vocabulary import UNKNOWN
from ..trainer.weights import load_arrays, transfer
from .common import compiled, fresh, load_model, parse_settings
from .sample_energy import sample_energy

if TYPE_CHECKING:
    from ...compiler.system import System

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SampleOptions:
    """The options of the command."""

    weights: str
    prompt: str = ""
    length: int | None = None
    temperature: float = 1.0
    seed: int = 0
    inputs: tuple[str, ...] = ()
    count: int | None = None
    sizes: tuple[str, ...] = ()
    png: str | None = None


LENGTH = 500                                             # symbols


def sample(model: str, options: SampleOptions) -> None:
    """Print what the model generates: the prompt, and what follows it."""
    if not 0 <= options.temperature < float("inf"):
        raise OptionError(f"--temperature {options.temperature}: a number of at least 0")
    if any(n is not None and n < 1 for n in (options.length, options.count)):
        raise OptionError("--length and --count: at least 1")
    _, note = load_arrays(options.weights)
    stored = {k: v for k, v in note.get("sizes", {}).items() if k not in parse_settings(options.sizes)}
    system = load_model(model, (*options.sizes, *_known(model, options.sizes, stored)))
    if system.energy is not None:
        return sample_energy(system, model, options, note)
    if options.png is not None:
        raise OptionError(f"--png: {system.name} generates symbols; pictures are drawn of an energy model's chains")
    length, count = options.length or LENGTH, options.count or 1
    if system.feedback is None:
        raise OptionError(f"model {system.name} has no feedback line, so it generates nothing: feedback x[t+1] ~ "
                          "categorical(...) says where the next symbol comes from")
    program = compiled(system)
    params = fresh(program)
    transfer(params, options.weights)
    spelling = Spelling(system, note.get("preparation", {}))
    inputs = spelling.inputs(options)
    if not inputs:
        inputs["batch"] = count
    try:
        found = program.generate(params, length, seed=options.seed, **_asked(system, options), **inputs)
    except (GraphError, TypeError, ValueError) as e:         # the module's own sentence: an input that is missing or does not fit
        raise OptionError(f"{system.name}: {e}") from None
    prompt = inputs.get(spelling.fed, np.zeros((count, 0), np.int64))
    for row in np.concatenate([prompt, found], axis=1):
        print(spelling.text(row))


def _known(model: str, given: tuple[str, ...], stored: Mapping[str, int]) -> list[str]:
    """The sizes that the weights were trained with, as settings, as far as the model has them."""
    sizes = load_model(model, given).sizes
    return [f"{k}={v}" for k, v in stored.items() if k in sizes and sizes[k] != v]


def _asked(system: System, options: SampleOptions) -> dict[str, float]:
    """The temperature, where the feedback reads it."""
    assert system.feedback is not None
    if "temperature" in system.feedback.free:
        return {"temperature": options.temperature}
    if options.temperature != 1.0:
        raise OptionError(f"--temperature: the feedback of {system.name} reads no temperature: softmax(p[t] / temperature)")
    return {}


class Spelling:
    """Text to classes and back, by the vocabularies that are stored with the weights."""

    def __init__(self, system: System, preparation: Mapping[str, Any]) -> None:
        self.system = system
        self.vocabularies: dict[str, list[str]] = dict(preparation.get("vocabulary", {}))
        self.how: dict[str, str] = dict(preparation.get("spelling", {}))
        assert system.feedback is not None
        self.fed = system.feedback.input

    def inputs(self, options: SampleOptions) -> dict[str, Array]:
        """The prompt and `--input NAME=TEXT` as arrays, each row the same."""
        out: dict[str, Array] = {}
        given = {self.fed: options.prompt} if options.prompt or self.how.get(self.fed) == "framed" else {}
        for item in options.inputs:
            name, sign, text = item.partition("=")
            if not sign:
                raise OptionError(f"--input {item}: write INPUT=TEXT")
            if name not in self.system.inputs:
                raise OptionError(f"--input {name}: the model has no such input{did_you_mean(name, self.system.inputs)}")
            given[name] = text
        for name, text in given.items():
            row = self.classes(name, text)
            if not len(row):
                raise OptionError(f"input {name}: it has no symbol")
            out[name] = np.repeat(row[None], options.count or 1, axis=0)
            for axis in self.system.inputs[name].axes:
                if axis in self.system.lengths and name != self.fed:
                    out[f"lengths_{axis}"] = np.full(options.count or 1, len(row))
        return out

    def classes(self, name: str, text: str) -> Array:
        """A text as classes; a symbol that the vocabulary lacks is named with its place."""
        if name not in self.vocabularies:
            return self._numbers(name, text)
        how = self.how.get(name, "chars")
        symbols = list(SPELLINGS[how](text))
        if how == "framed" and name == self.fed:
            symbols = symbols[:-1]                           # a prompt begins the text and does not end it
        index = {s: i for i, s in enumerate(self.vocabularies[name])}
        for i, s in enumerate(symbols):
            if s not in index and UNKNOWN not in index:
                place = i + (how != "framed")
                raise RunError(f"input {name}: {s!r}, {'word' if how == 'words' else 'character'} {place} of {text!r}, is not "
                               f"in the vocabulary of {len(index)} that the weights were trained with")
        return np.array([index.get(s, index.get(UNKNOWN, 0)) for s in symbols], np.int64)

    def _numbers(self, name: str, text: str) -> Array:
        """Classes or numbers written out, where the weights hold no vocabulary for an input."""
        try:
            values = [float(w) for w in text.replace(",", " ").split()]
        except ValueError:
            raise OptionError(f"input {name}: the weights hold no vocabulary for it; write numbers, such as 1,5,2") from None
        found = np.array(values)
        return found.astype(np.int64) if self.system.inputs[name].type.kind == "class" else found

    def text(self, row: Array) -> str:
        """A generated row as text, or as numbers where there is no vocabulary."""
        if self.fed not in self.vocabularies:
            return np.array2string(row, separator=", ", threshold=10**6, precision=4)
        words = self.vocabularies[self.fed]
        how = self.how.get(self.fed, "chars")
        symbols = [words[int(i)] if int(i) < len(words) else UNKNOWN for i in row]
        if how == "framed" and symbols[0] != END:
            symbols = [END, *symbols]
        return joined(how, symbols)
