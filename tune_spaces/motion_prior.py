"""Paper, Table 2: what do the temporal encoder and a prior of motion each bring?

The frame baseline has neither, G has the temporal encoder, and G + D also learns from a motion
discriminator, as strongly as VIBE's released run.
"""

PAPER = "Table 2"

SPACE = {
    ("generator.temporal_encoder.kind", "losses.adversarial"): {
        "frame baseline": ("none", 0.0),
        "G": ("gru", 0.0),
        "G + D": ("gru", 0.5),
    },
}
