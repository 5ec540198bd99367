"""Synthetic captures of motion: virtual people, cameras and a key-point detector's mistakes."""
