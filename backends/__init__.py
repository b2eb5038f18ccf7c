"""Ways to print and run a program."""
