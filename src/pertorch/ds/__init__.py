"""Datasets: screens simulated with a known truth, and measured ones by name."""

from pertorch.ds._fetch import fetch_dataset, list_datasets, load_dataset
from pertorch.ds._screen import Screen
from pertorch.ds._simulate import simulate_screen

__all__ = ["Screen", "fetch_dataset", "list_datasets", "load_dataset", "simulate_screen"]
