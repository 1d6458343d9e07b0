"""Nodes, deployments, roles and their bindings, one use case per function."""
