"""A program of its own: thousands of calls of programs for a GPU with one wrong argument, on the stand-in for CuPy.

Each works as the program for NumPy does, or says why not in a line. Wrong arrays lie on the host and on the device; steps are
launched plainly and replayed as a graph, whose next good step must be what it would have been. An argument n takes every n-th
mutation, of the second model from the second one on, of the third from the third: other kinds of them.
"""

import sys
from itertools import islice

import chainrule as cr
import numpy as np
from gpu import programs, standin
from native.mutated_calls import ALLOWED, CHARS, MUTATIONS, NET, RAGGED
from zoo.trained_energies import PCD, RBM

REFUSED = (*ALLOWED, MemoryError)


class Model:
    """A model as a program for a GPU and for NumPy, with good arguments, and a training step that is replayed as a graph."""

    def __init__(self, text):
        system, rng = cr.parse(text).system, np.random.default_rng(0)
        self.numpy, self.program = cr.compile(system), cr.compile(system, backend="cupy")
        self.program._module = self.m = programs.loaded(self.program.source)
        self.params = self.numpy.init(seed=1)
        self.state = {k: np.asarray(v) for k, v in self.numpy.init_state(self.params).items()}
        self.inputs = {}
        for k, node in system.inputs.items():
            shape = (3, *(4 for _ in node.axes[:-1]), *(s.evaluate(system.sizes) for s in node.shape))
            limit = 5 if k.startswith("lengths") else node.type.n.evaluate(system.sizes) if node.type.kind == "class" else 0
            self.inputs[k] = rng.integers(1, limit, shape) if limit else (rng.random(shape) < 0.5).astype(np.float32)
        if system.energy is not None:
            self.inputs = {"v": self.inputs["v"]}
            self.calls = {"train_step": self.train, "free_energy": lambda p, x, s, i: p.free_energy(x, **i)}
        else:
            some = {k for k in self.inputs if k != "y"}
            self.calls = {"train_step": self.train, "loss_and_grads": lambda p, x, s, i: p.loss_and_grads(x, **i),
                          "evaluate": lambda p, x, s, i: p.evaluate(x, **i),
                          "predict": lambda p, x, s, i: p.predict(x, **{k: v for k, v in i.items() if k in some})}
        self.kept = self.there()
        self.replayed(self.inputs, 2)
        self.first = self.replayed(self.inputs, 1)

    def here(self):
        """Fresh parameters and state of NumPy."""
        return {k: v.copy() for k, v in self.params.items()}, {k: v.copy() for k, v in self.state.items()}

    def there(self):
        """The same on the device."""
        return tuple(map(self.m.to_device, self.here()))

    @staticmethod
    def train(program, params, state, inputs):
        return program.train_step(params, state, **inputs), params

    def replayed(self, inputs, times):
        """Losses and parameters of steps on arrays that stay where they are, begun from the same numbers."""
        for kept, fresh in zip(self.kept, self.here(), strict=True):
            for k, v in fresh.items():
                kept[k].set(v.astype(kept[k].dtype))
        return self.found([self.program.train_step(*self.kept, workspace=self.workspace, **inputs) for _ in range(times)] +
                          [self.kept[0]])

    @property
    def workspace(self):
        self.own = getattr(self, "own", None) or self.m.Workspace()
        return self.own

    def found(self, results):
        """Numbers in nested containers, on the host. What was wrong with inputs on the device is said now."""
        if isinstance(results, dict):
            results = list(results.values())
        if isinstance(results, list | tuple):
            return [y for x in results for y in self.found(x)]
        return [np.asarray(self.m.to_host(results), float)]

    def mutated(self):
        """(what was done, group, key, wrong array of NumPy or what is none)."""
        for group in ("params", "state", "inputs"):
            for key, good in getattr(self, group).items():
                for word, change in MUTATIONS.items():
                    try:
                        with np.errstate(all="ignore"):
                            yield f"{group}[{key!r}]: {word}", group, key, change(good)
                    except (TypeError, ValueError, OverflowError, IndexError):
                        continue                                 # there is no such array


def agree(found, wanted):
    """Whether results are the same numbers, as float32 has them."""
    return len(found) == len(wanted) and all(
        x.shape == y.shape and np.allclose(x, y, 1e-3, 1e-4 * (1 + np.abs(y[np.isfinite(y)]).max(initial=0)), equal_nan=True)
        for x, y in zip(found, wanted, strict=True))


class Calls:
    """Calls that are counted, and what is wrong with them."""

    def __init__(self, model):
        self.model, self.count, self.refused, self.kinds = model, 0, 0, set()

    def one(self, word, call, *args):
        """What a call gives, or the word `refused`."""
        self.count += 1
        try:
            with np.errstate(all="ignore"):
                return self.model.found(call(*args))
        except REFUSED as e:
            self.refused += 1
            if "\n" in str(e) or not str(e):
                self.say(word, f"not one sentence: {e!r}")
        except ZeroDivisionError:                                # the mean of no examples: NaN elsewhere
            return None
        except Exception as e:
            self.say(word, repr(e))
        return "refused"

    def say(self, word, what):
        print(f"{self.model.numpy.system.name}, {word}: {what}")

    def mutation(self, word, group, key, wrong):
        """One wrong argument, on the host and on the device, to every function."""
        m = self.model
        self.kinds.add((group, word.partition(": ")[2]))
        place = {"params": 0, "state": 1, "inputs": 2}[group]
        forms = {"": wrong}
        if isinstance(wrong, np.ndarray) and wrong.dtype.kind in "fiubc" and wrong.dtype.itemsize <= 8 and wrong.dtype.isnative:
            forms[" on the device"] = standin.given(wrong)
        for name, call in m.calls.items():
            host = [*m.here(), dict(m.inputs)]
            host[place][key] = wrong
            wanted = self.one("", call, m.numpy, *host) if group == "inputs" else None
            for where, form in forms.items():
                given = [*m.there(), dict(m.inputs)]
                given[place][key] = form
                said = f"{name}, {word}{where}"
                self.compare(said, self.one(said, call, m.program, *given), wanted)
        if group == "inputs":
            for where, form in forms.items():
                said = f"replayed, {word}{where}"
                wanted = self.one("", self.plain, {**m.inputs, key: wrong})
                self.compare(said, self.one(said, m.replayed, {**m.inputs, key: form}, 1), wanted)
                if not agree(m.replayed(m.inputs, 1), m.first):
                    self.say(said, "a good step gives other numbers now")

    def plain(self, inputs):
        """A step of the program for NumPy."""
        params, state = self.model.here()
        return [self.model.numpy.train_step(params, state, **inputs), params]

    def compare(self, said, found, wanted):
        """The program for NumPy refuses the same calls and gives the same numbers."""
        if wanted is None:
            return
        if (found == "refused") != (wanted == "refused"):
            self.say(said, f"{'refused' if found == 'refused' else 'taken'}, not so by NumPy")
        elif found != "refused" and not agree(found, wanted):
            self.say(said, f"other numbers: {[x.ravel()[:3] for x in found][:2]}, not {[x.ravel()[:3] for x in wanted][:2]}")


def main():
    """Print a line for each call that behaves as it must not, and the numbers of calls and of kinds of mutations."""
    some, count, refused, kinds = int(sys.argv[1]) if len(sys.argv) > 1 else 1, 0, 0, set()
    for k, text in enumerate((NET, RAGGED, CHARS, RBM.format(PCD.format(2, 0.1)))):
        calls = Calls(Model(text))
        for mutation in islice(calls.model.mutated(), k % some, None, some):
            calls.mutation(*mutation)
        count, refused, kinds = count + calls.count, refused + calls.refused, kinds | calls.kinds
    print(f"{count} calls, {refused} refused, {len(kinds)} kinds")


if __name__ == "__main__":
    main()
