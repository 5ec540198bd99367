"""Which temporal encoder? A GRU that looks back only, or both ways, and what it adds its output to.

The residual is the frame's own feature (VIBE's), an average over seven frames (the open recipe's),
or nothing (TCMR's way against jitter).
"""

SPACE = {
    "generator.temporal_encoder.bidirectional": {"forward GRU": False, "GRU both ways": True},
    (
        "generator.temporal_encoder.residual",
        "generator.temporal_encoder.residual_frames",
    ): {
        "residual": (True, 1),
        "residual of 7 frames": (True, 7),
        "no residual": (False, 1),
    },
}
