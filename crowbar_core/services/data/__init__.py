"""What values there are: layers, views, claims of addresses, and what a change of one touches."""
