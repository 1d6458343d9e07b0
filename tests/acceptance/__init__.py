"""Real processes, killed in the middle; then convergence."""
