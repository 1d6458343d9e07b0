"""The history of the inventory's table."""
