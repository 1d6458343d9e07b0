"""Answers for installers: pure. What is put into them is known to be harmless where it stands.

What the machine says of its disks, and keys, stand in the hooks' script alone, each quoted for the shell.
"""
