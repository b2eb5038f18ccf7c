"""Which examples a step sees: every one once, the same for the same seed, like lengths together, chunks in their order."""

import numpy as np
import pytest
from chainrule.frontends.trainer.batches import Batches, Chunks, evaluation, fold
from chainrule.frontends.trainer.errors import DataError
from chainrule.frontends.trainer.ragged import Ragged

CUT = frozenset(["x", "y", "lengths_t"])


def sequences(n=203, longest=40, seed=0):
    """n sequences of 1 to `longest` steps, whose values are their numbers."""
    lengths = np.random.default_rng(seed).integers(1, longest + 1, n)
    return {"x": Ragged.of([np.full(k, i) for i, k in enumerate(lengths)], "t"), "k": np.arange(n)}


def stream(n=103):
    return {"x": np.arange(n)[None], "y": np.arange(1, n + 1)[None]}


def test_whole_examples_meet_once_an_epoch():
    arrays = {"x": np.arange(25.0), "y": np.arange(25)}
    plan, again = Batches(arrays, 4, 7), Batches(arrays, 4, 7)
    for epoch in (0, 1):
        pieces = [plan.at(epoch, i) for i in range(plan.steps)]
        assert plan.steps == 7 and [p.examples for p in pieces] == [4] * 6 + [1]
        assert sorted(np.concatenate([p.arrays["y"] for p in pieces])) == list(range(25))
        assert all(np.array_equal(p.arrays["x"], again.at(epoch, i).arrays["x"]) for i, p in enumerate(pieces))
    assert not np.array_equal(plan.at(0, 0).arrays["y"], plan.at(1, 0).arrays["y"])
    assert Batches(arrays, 0, 7).at(0, 0).arrays["x"] is arrays["x"]


def test_like_lengths_meet():
    arrays = sequences()
    plan = Batches(arrays, 10, 3)
    pieces = [plan.at(0, i) for i in range(plan.steps)]
    assert plan.steps == 21 and sorted(np.concatenate([p.arrays["k"] for p in pieces])) == list(range(203))
    padding = sum(p.arrays["x"].size - p.tokens for p in pieces)
    assert padding < 0.1 * arrays["x"].values.size and sum(p.tokens for p in pieces) == arrays["x"].values.size
    p = Batches(arrays, 10, 3).at(0, 5)
    assert np.array_equal(p.arrays["x"], pieces[5].arrays["x"]) and p.arrays["x"].shape == (10, p.arrays["lengths_t"].max())
    lengths = [p.arrays["lengths_t"].mean() for p in pieces]
    assert lengths != sorted(lengths)                                    # short batches do not all come first


def test_a_stream_is_folded_and_cut_into_chunks():
    plan = Chunks(stream(), 4, 0, 10, CUT, True)
    pieces = [plan.at(0, i) for i in range(plan.steps)]
    assert [p.arrays["x"].shape for p in pieces] == [(4, 10), (4, 10), (4, 5)]
    assert [p.fresh for p in pieces] == [True, False, False]
    assert np.array_equal(np.concatenate([p.arrays["x"] for p in pieces], 1), np.arange(100).reshape(4, 25))
    assert all(np.array_equal(p.arrays["x"] + 1, p.arrays["y"]) for p in pieces) and plan.at(1, 0).fresh
    with pytest.raises(DataError, match="input x: 3 symbols cannot be cut into 4 parallel streams"):
        fold({"x": np.arange(3)[None]}, 4)


def test_evaluation_leaves_no_symbol_out():
    seen = list(evaluation(stream(), 4, 10, CUT, True))
    assert sorted(np.concatenate([p.arrays["x"].ravel() for p in seen])) == list(range(103)) and sum(p.fresh for p in seen) == 2
    arrays = sequences()
    for k in (0, 7):
        seen = list(evaluation(arrays, 10, k, CUT))
        assert sum(p.tokens for p in seen) == arrays["x"].values.size and sum(p.examples for p in seen if p.fresh) == 203
    assert [p.examples for p in evaluation({"x": np.zeros((2500, 3))})] == [1000, 1000, 500]
    assert [p.examples for p in evaluation({"x": np.zeros((25, 100))}, 0, 0, CUT)] == [10, 10, 5]


def test_chunks_of_sequences_of_their_own_lengths():
    arrays = sequences(23, 30)
    plan = Chunks(arrays, 5, 0, 8, CUT)
    for epoch in (0, 3):
        pieces = [plan.at(epoch, i) for i in range(plan.steps)]
        assert sum(p.tokens for p in pieces) == arrays["x"].values.size and pieces[0].fresh
        seen = {}
        for p in pieces:
            for k, row, own in zip(p.arrays["k"], p.arrays["x"], p.arrays["lengths_t"]):
                assert (row[:own] == k).all() and (own == 8 or k not in seen or own <= seen[k])
                seen[k] = int(own)
        assert len(seen) == 23


def test_chunks_of_equal_sequences_are_shuffled():
    arrays = {"x": np.arange(12).repeat(20).reshape(12, 20)}
    plan = Chunks(arrays, 4, 0, 10, CUT)
    firsts = [plan.at(0, i).arrays["x"][:, 0].tolist() for i in range(plan.steps)]
    assert plan.steps == 6 and firsts[0] == firsts[1] and sorted(k for rows in firsts for k in rows) == sorted([*range(12)] * 2)
    assert firsts != [plan.at(1, i).arrays["x"][:, 0].tolist() for i in range(plan.steps)]
