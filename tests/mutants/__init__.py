"""Faults that are planted on purpose, one at a time, to see whether any test notices."""
