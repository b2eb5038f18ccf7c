"""Draws `rbm_filters.png` and `rbm_samples.png` from the weights of examples/rbm_mnist: python docs/rbm.py WEIGHTS"""

import sys
from pathlib import Path

from chainrule.frontends.commands.sample import SampleOptions, sample
from chainrule.frontends.trainer.pictures import Sheet, draw_grid, images_of
from chainrule.frontends.trainer.weights import load_arrays

DOCS = Path(__file__).resolve().parent
weights = sys.argv[1]
filters = images_of(load_arrays(weights)[0]["W"][:100])
draw_grid(DOCS / "rbm_filters.png", filters, Sheet("rbm_mnist: rows of W, the first 100 hidden units", 20))
model = str(DOCS.parent / "examples" / "rbm_mnist" / "model.nn")
sample(model, SampleOptions(weights, length=4000, count=8, png=str(DOCS / "rbm_samples.png")))
