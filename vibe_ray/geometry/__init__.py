"""Rotations, cameras and alignment. Knows tensors only; imports nothing of vibe_ray."""
