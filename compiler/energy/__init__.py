"""Energy models: from E(v, h) alone, everything that sampling, training and measuring need.

    conditional(system, side)       p(h|v) or p(v|h): natural parameters, precisions, means      see `conditionals`
    free_energy(system, over)       a side summed out in closed form                             see `free`
    sample(conditional, key)        a draw, a constant to the gradient                           see `sampling`

Every function takes a `System` with an energy. EnergyError says what cannot be derived, and which term is at fault.
"""

from .conditionals import Conditional, conditional, mean_of
from .errors import EnergyError
from .free import free_energy, summed_out
from .objectives import Objective, contrastive_divergence, statistics
from .replace import replaced, without
from .sampling import sample
from .terms import summands

__all__ = ["Conditional", "EnergyError", "Objective", "conditional", "contrastive_divergence", "free_energy", "mean_of", "replaced",
           "sample", "statistics", "summands", "summed_out", "without"]
