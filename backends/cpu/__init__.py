"""NumPy: the printer and the runtime of its modules."""
