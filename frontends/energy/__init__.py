"""Energy models after training: what is measured of them. See `measures`."""

from .annealing import Annealed
from .measures import Measures

__all__ = ["Annealed", "Measures"]
