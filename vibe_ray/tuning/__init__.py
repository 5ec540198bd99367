"""Searches over settings: spaces, candidates, and a ranking that knows noise. No Ray."""
