"""The migrations of the barclamp's tables."""
