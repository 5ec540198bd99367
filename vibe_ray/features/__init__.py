"""Frame encoders: one frame in, one feature vector out, frozen while VIBE trains."""
