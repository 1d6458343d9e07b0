"""What each noun looks like, one listing each: its fields, where they come from, what it is filtered and sorted by.

The API and the pages read both through these, so that a node's state is said once.
"""
