"""Preprocessing: guide assignment."""
