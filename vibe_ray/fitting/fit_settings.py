"""How is a body fitted to the key-points of its picture, and when is a fit kept?"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What a fit minimizes, and for how long.

    Weights are beside the key-points' term, a sum over a frame's key-points of at most one each.
    """

    num_steps: int = 60
    learning_rate: float = 0.02
    robust_scale: float = 0.05
    """Sides of the box: a key-point farther off than this counts less and less (Geman-McClure)."""
    pull: float = 2.0
    """Of squared radians by which joints are corrected."""
    calm: float = 0.1
    """Of squared radians per second by which corrections change."""
    shape: float = 0.05
    """Of squared betas."""
    place_calm: float = 1.0
    """Of squared changes per second of place, in units of the depth."""
    prior: float = 0.0
    """Of how unlikely each frame's motion is to a motion prior."""
    max_loss: float = 0.2
    """Share of themselves by which the errors of held-out key-points may rise. A joint that is
    fitted blind follows its neighbors' noise, so that they rise where a fit is right, too; but what
    rises by more is a sign that key-points contradict each other."""
    num_folds: int = 4
    """Parts into which key-points are dealt, each held out once."""
    held_out_frames: int = 240
    """So many frames, in pieces all over the track, decide whether the fit is kept."""
    chunk: int = 512
    """Frames posed at a time; bounds the memory and changes no result."""

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_folds", "held_out_frames", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least 1")
        for name in ("learning_rate", "robust_scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be positive")
        for name in ("pull", "calm", "shape", "place_calm", "prior", "max_loss"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} is {getattr(self, name)}, must be 0 or more")
