"""Weights that ship with the package, each with a manifest of data, seed and metrics."""
