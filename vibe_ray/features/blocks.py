"""Features of a long sequence, encoded while they are read.

Shapes: N frames, F features.
"""

import dataclasses
from collections import OrderedDict

import torch
from torch import Tensor

from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.schema import LABEL_ARRAYS
from vibe_ray.features.encoding import features_of
from vibe_ray.features.frame_encoder import FrameEncoder

BLOCK_FRAMES = 1024
"""Frames whose features are made at once."""
BLOCKS_KEPT = 3
"""A piece of a sequence, with the frames around it, lies in as many."""


class FeaturesInBlocks:
    """Features (N, F) of a person's frames, of which some are encoded when they are asked for.

    A feature is ten times as large as what is seen of a person in a frame. So of a long sequence
    they are made anew whenever it is gone through, and memory holds a few blocks. What looks at
    pixels would have to read its video as often: such features are made once, and held.

    Blocks begin at fixed frames: a frame has one feature, whatever is asked for together with it.
    """

    def __init__(
        self, labels: LabelledSequence, encoder: FrameEncoder, *, mirrored: bool = False
    ) -> None:
        """Encode nothing yet, unless it is of pixels; see `features_of`, which may raise later."""
        self._labels, self._encoder, self._mirrored = labels, encoder, mirrored
        self._whole = None
        if encoder.needs == "crops":
            self._whole = features_of(labels, encoder, mirrored=mirrored)
        self._blocks: OrderedDict[int, Tensor] = OrderedDict()

    def __len__(self) -> int:
        """N."""
        return self._labels.num_frames

    def __getitem__(self, frames: slice | Tensor) -> Tensor:
        """Return features (n, F) of a slice without steps, or (..., F) of frames by number."""
        if self._whole is not None:
            return self._whole[frames]
        if isinstance(frames, Tensor):
            first, stop = int(frames.min()), int(frames.max()) + 1
            return self[first:stop][frames - first]
        first, stop, _ = frames.indices(len(self))
        parts = []
        for number in range(first // BLOCK_FRAMES, -(-stop // BLOCK_FRAMES)):
            start = number * BLOCK_FRAMES
            parts.append(self._block(number)[max(0, first - start) : stop - start])
        return torch.cat(parts)

    def _block(self, number: int) -> Tensor:
        if number not in self._blocks:
            rows = slice(number * BLOCK_FRAMES, (number + 1) * BLOCK_FRAMES)
            labels = self._labels
            some = dataclasses.replace(
                labels,
                images=labels.images[rows],
                **{name: getattr(labels, name)[rows] for name in LABEL_ARRAYS},
            )
            while len(self._blocks) >= BLOCKS_KEPT:
                self._blocks.popitem(last=False)
            self._blocks[number] = features_of(some, self._encoder, mirrored=self._mirrored)
        self._blocks.move_to_end(number)
        return self._blocks[number]
