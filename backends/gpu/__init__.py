"""CUDA: programs for CuPy with kernels in CUDA C++."""
