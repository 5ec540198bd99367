"""Which temporal encoder? A GRU that looks back only, or both ways, one after TCMR, a transformer.

And what is its output added to: the frame's own feature (VIBE's residual), an average over seven
frames (the open recipe's), or nothing (TCMR's way against jitter)? Sizes are the recipe's.

All learn at the recipe's rate. That of the open recipe is the GRU's: a transformer does better at a
fifth of it, so let a search over `optim.generator_lr` decide before it is called worse.
"""

ENCODER = "generator.temporal_encoder"

SPACE = {
    (
        f"{ENCODER}.kind",
        f"{ENCODER}.gru.bidirectional",
        f"{ENCODER}.gru.residual",
        f"{ENCODER}.gru.residual_frames",
        f"{ENCODER}.transformer.residual",
        f"{ENCODER}.transformer.residual_frames",
    ): {
        "forward GRU": ("gru", False, True, 1, True, 7),
        "forward GRU, residual of 7 frames": ("gru", False, True, 7, True, 7),
        "GRU both ways": ("gru", True, True, 1, True, 7),
        "GRU both ways, residual of 7 frames": ("gru", True, True, 7, True, 7),
        "GRU both ways, no residual": ("gru", True, False, 1, True, 7),
        "TCMR": ("tcmr", True, True, 1, True, 7),
        "transformer": ("transformer", True, True, 1, True, 1),
        "transformer, residual of 7 frames": ("transformer", True, True, 1, True, 7),
        "transformer, no residual": ("transformer", True, True, 1, False, 1),
    },
}
