"""The history of the wizard's tables."""
