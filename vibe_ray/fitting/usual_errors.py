"""How is a network's pose usually wrong? What a fit to key-points may believe of its own accord.

Joints are hardly ever wrong alone, nor in all ways alike: hips and knees go together, an upper arm
is off by twice as much as a thigh. The covariance of the packaged VIBE's errors
says so: of 16,150 frames of its training motion, captured anew with a detector as it was measured,
and of their mirror images. `python -m tests.benchmarks.usual_errors` measures it.

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
    """Return a square root (E, E) of the errors' covariance, float32; nobody may write into it.

    Independent numbers of standard deviation one, multiplied by it from the right
    (`numbers @ usual_errors().T`), are errors as they are usual: rotation vectors (J, 3), in
    radians, by which each joint's own axes are off.
    """
    with np.load(FILE) as data:
        covariance = torch.from_numpy(data["covariance"]).double()
    floor = FLOOR_RAD**2 * torch.eye(len(covariance), dtype=torch.float64)
    return torch.linalg.cholesky(covariance + floor).float()
