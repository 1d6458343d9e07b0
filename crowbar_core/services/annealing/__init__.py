"""Deciding and writing what runs: the annealer, and fates of what was cut off."""
