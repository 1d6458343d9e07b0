"""Machines on which nothing is to be done are switched off, and on again when something is."""
