"""Machines are burned in: busy for a given time, and what went wrong meanwhile is reported."""
