"""Energy models: from E(v, h) alone, everything that sampling, training and measuring need.

    conditional(system, side)       p(h|v) or p(v|h): natural parameters, precisions, means      see `conditionals`
    free_energy(system, over)       a side summed out in closed form                             see `free`
    partition(system)               log Z by enumeration of the smaller side                     see `partition`
    sample(conditional, key)        a draw, a constant to the gradient                           see `sampling`, `chains`
    objective(system, estimator)    a system with a loss: CD-k, persistent CD, exact likelihood  see `objectives`
    statistics(system)              a system whose gradient is the mean of -dE/dw given v
    conditionals, free_energies, gibbs      systems with outputs                                 see `functions`
    tempered(system, beta)          the system between its factorised part and itself            see `tempering`

Every function takes a `System` with an energy and leaves it as it is. EnergyError says what cannot be derived, and which term
is at fault.
"""

from .conditionals import Conditional, conditional, mean_of
from .errors import EnergyError
from .free import free_energy, summed_out
from .functions import conditionals, free_energies, gibbs
from .objectives import Objective, objective, statistics
from .partition import Partition, partition
from .replace import replaced, without
from .sampling import sample
from .tempering import tempered
from .terms import signed_summands, summands

__all__ = ["Conditional", "EnergyError", "Objective", "Partition", "conditional", "conditionals", "free_energies", "free_energy",
           "gibbs", "mean_of", "objective", "partition", "replaced", "sample", "signed_summands", "statistics", "summands",
           "summed_out", "tempered", "without"]
