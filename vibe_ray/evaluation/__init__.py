"""Metrics, protocols, published numbers and the report."""
