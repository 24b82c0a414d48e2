"""`python -m livinglab.cli`: the same as `livinglab`."""

from livinglab.cli import main

main()
