"""Equations in, program out; knows no target and no file format."""

from . import ops as ops  # every primitive is known before the first node is built
