"""Training a compiled model: data, the loop, checkpoints, reports."""
