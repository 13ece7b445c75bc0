"""Tensor operations: a plain torch version of each, and a Triton kernel of the same name where it pays."""
