"""How is a network's pose usually wrong? What a fit to key-points may believe of its own accord.

Joints are hardly ever wrong alone, nor in all ways alike: hips and knees go together, an upper arm
is off by twice as much as a thigh. The second moments of the packaged VIBE's errors say so, over
16,150 frames of its training motion, captured anew with a detector as it was measured, and their
mirror images. Kinds of motion that it has not seen go wrong by more, but a fit asks in which ways,
not by how much. `CONTRIBUTING.md` says how the file is made.

Shapes: J = 24 SMPL joints, E = 3 J.
"""

from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FILE = Path(__file__).with_name("usual_errors.npz")
FLOOR_RAD = 0.01
"""Standard deviation of what is added to each number: no error is impossible."""


@cache
def usual_errors() -> Tensor:
    """Return the symmetric square root (E, E) of the errors' second moments, radians; read only.

    Independent numbers of standard deviation one, multiplied by it (`numbers @ usual_errors()`),
    are errors as they are usual: rotation vectors (J, 3) by which each joint is off, about its own
    axes. Of all roots it is the one that treats left and right alike and no joint before another,
    which matters to an optimizer that goes number by number and does not come to an end.
    """
    with np.load(FILE) as data:
        moments = torch.from_numpy(data["moments"]).double()
    floor = FLOOR_RAD**2 * torch.eye(len(moments), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(moments + floor)
    return ((vectors * values.sqrt()) @ vectors.T).float()
