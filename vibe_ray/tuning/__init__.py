"""Searches over settings: the space, Ray Tune over Ray Train, and a ranking that knows noise."""
