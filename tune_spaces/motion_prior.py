"""Paper, Table 2: what do the temporal encoder and a prior of motion each bring?

The frame baseline has neither, G has the temporal encoder. G + MPoser also wants its motion to be
likely under a prior that was trained before (the packaged one; `motion_prior` may name your own),
and G + D learns from a motion discriminator, as strongly as VIBE's released run. The paper does not
give MPoser's weight; on the open world's validation captures a tenth of this one did as well.
"""

PAPER = "Table 2"

MPOSER_WEIGHT = 0.3

SPACE = {
    (
        "generator.temporal_encoder.kind",
        "losses.adversarial",
        "losses.motion_prior",
        "motion_prior",
    ): {
        "frame baseline": ("none", 0.0, 0.0, ""),
        "G": ("gru", 0.0, 0.0, ""),
        "G + MPoser": ("gru", 0.0, MPOSER_WEIGHT, "open"),
        "G + D": ("gru", 0.5, 0.0, ""),
    },
}
