"""Networks: addresses for nodes, conduits, and real interfaces."""
