"""How is a body fitted to the key-points of its picture, and when is a fit kept?"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """What a fit minimizes, and for how long.

    Weights are beside the key-points' term, a sum over a frame's key-points of at most one each.
    """

    num_steps: int = 60
    """Of the optimizer. More come nearer to the key-points, and to their noise."""
    turn_learning_rate: float = 0.1
    """Of what joints are turned by, in usual errors."""
    learning_rate: float = 0.02
    """Of the shape, in betas, and of the place, in sides of the box."""
    robust_scale: float = 0.05
    """Sides of the box: a key-point farther off than this counts less and less (Geman-McClure)."""
    pull: float = 0.02
    """Of squared corrections of the pose, in usual errors (`usual_errors.py`)."""
    calm: float = 0.0015
    """Of squared usual errors per second by which corrections change."""
    shape: float = 0.05
    """Of squared corrections of betas."""
    place_calm: float = 1.0
    """Of squared changes per second of place, in units of the depth."""
    prior: float = 0.0
    """Of how unlikely each frame's motion is to a motion prior, which looks at 16 frames in a row
    whatever their rate; it has learned from 25 to 30 a second."""
    max_rise: float = 0.2
    """Share by which the mean error of held-out key-points may rise. A joint that is fitted blind
    follows its neighbors' noise, so that it rises by up to that where a fit is right, too; where it
    rises by more, key-points contradict each other, or the fit has lost the person. Not all that
    contradict each other are noticed (`docs/results/predict.md`)."""
    max_off: float = 0.08
    """Mean error before the fit, in sides of the box, above which nothing is fitted: twice what is
    off at most in captures of which the truth is known. Key-points so far away are not this
    person's, or their names are mixed up."""
    num_folds: int = 4
    """Parts into which key-points are dealt, each held out once."""
    held_out_frames: int = 96
    """So many frames, in pieces all over the track, decide whether the fit is kept."""
    chunk: int = 512
    """Frames posed at a time; bounds the memory and changes no result."""

    def __post_init__(self) -> None:
        least = {"num_steps": 1, "num_folds": 2, "held_out_frames": 1, "chunk": 1}
        least |= dict.fromkeys(("pull", "calm", "shape", "place_calm", "prior", "max_rise"), 0)
        for name, limit in least.items():
            if not getattr(self, name) >= limit:
                value = getattr(self, name)
                raise ValueError(f"fitting.{name} is {value}, must be {limit} or more")
        for name in ("turn_learning_rate", "learning_rate", "robust_scale", "max_off"):
            if not getattr(self, name) > 0:
                raise ValueError(f"fitting.{name} is {getattr(self, name)}, must be positive")
