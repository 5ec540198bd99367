"""From an estimate to a motion that can be used: calm, on the picture, on the ground."""
