"""Iterative solvers: loops in torch over ops, blind to device and storage."""
