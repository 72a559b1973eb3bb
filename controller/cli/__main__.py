"""`python -m controller.cli` is `qkd`."""

from controller.cli.entry import main

main()
