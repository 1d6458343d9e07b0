"""The working process: runs, events, periodic jobs."""
