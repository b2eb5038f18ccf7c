"""C: kernels as functions."""
