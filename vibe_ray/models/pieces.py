"""How is an hour of frames run through a network, whose states are many times as large?

Piece by piece, each with as many frames around it as its answers depend on.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


class Sliceable(Protocol):
    """Frames (N, F), of which some are asked for at a time; a tensor is one."""

    def __len__(self) -> int: ...

    def __getitem__(self, frames: slice | Tensor, /) -> Tensor: ...


@dataclass(frozen=True)
class Piece:
    """Some frames of a sequence, and the frames around them."""

    around: slice
    """Of the sequence: the piece with its margins, which end where the sequence does."""
    inside: slice
    """Of those: the piece itself."""

    @classmethod
    def of(cls, num_frames: int, length: int, margin: int) -> Iterator["Piece"]:
        """Cut a sequence into pieces of `length` frames, with margins on both sides."""
        for start in range(0, num_frames, length):
            stop = min(start + length, num_frames)
            first = max(0, start - margin)
            around = slice(first, min(stop + margin, num_frames))
            yield cls(around, slice(start - first, stop - first))
