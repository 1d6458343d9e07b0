"""`python -m crowbar_core.cli`: the command line without its script, for processes that start each other."""

from crowbar_core.cli.root import main

main()
