"""Shards, windows, batches and streams: what flows from object storage into a training step."""
