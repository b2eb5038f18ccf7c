"""`python -m chainrule`: the command line."""

from .frontends.cli import main

main()
