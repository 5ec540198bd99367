"""Rotations, cameras and alignment. Knows tensors and arrays only; imports nothing of vibe_ray."""
