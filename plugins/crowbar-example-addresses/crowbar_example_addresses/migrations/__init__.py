"""The history of the table of addresses."""
