"""A lab of light nodes: machines made of Linux namespaces, real enough for Crowbar to ping, log in to, power and ruin.

``crowbar_lab.lab.Lab`` makes, finds and removes labs; ``crowbar_lab.commands.lab`` is ``crowbar lab``. Nothing is
imported here, because the process that keeps a lab must stay small.
"""
