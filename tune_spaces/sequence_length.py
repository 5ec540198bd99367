"""How many frames should a window have? All lengths are cut from one set of shards.

A step sees 512 frames of captures and 512 of motion at every length, as the ablation recipe's do,
so what differs is how they hang together. Windows do not overlap. Validation cuts its sequences
into windows of the same length. A clip shorter than a window gives none, so the longest windows see
less of the data.
"""

FRAMES = 512

SPACE = {
    (
        "data.window_length",
        "data.window_stride",
        "data.batch_size",
        "data.motion_batch_size",
    ): {
        f"T = {length}": (length, length, FRAMES // length, FRAMES // length)
        for length in (8, 16, 32, 64, 128)
    },
}
