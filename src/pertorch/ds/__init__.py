"""Datasets: screens simulated with a known truth."""

from pertorch.ds._simulate import Screen, simulate_screen

__all__ = ["Screen", "simulate_screen"]
