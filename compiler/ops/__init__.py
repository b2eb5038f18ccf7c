"""The elementwise primitives: importing this package fills the table."""

from . import arithmetic, exponential, logic
from .base import PRIMITIVES, Primitive

__all__ = ["PRIMITIVES", "Primitive", "arithmetic", "exponential", "logic"]
