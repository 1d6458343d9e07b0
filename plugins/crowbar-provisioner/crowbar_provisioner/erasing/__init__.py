"""Disks are erased, read back, and reported of with a signature that outlives the node."""
