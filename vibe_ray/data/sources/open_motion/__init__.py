"""Real human motion that may be redistributed, small enough to ship.

`open_motion.npz` holds two recordings of CMU's motion capture database, made by `build.py` out of
BVH files; `NOTICE` tells whose they are and on which terms. With DeepMimic's clips, which are read
from an installed package, it makes the open world. A user gets hours more by downloading CMU's
database and converting it (`vibe_ray/data/sources/`).
"""

from importlib import resources

import numpy as np

from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.data.schema import MotionSequence

DATASET = "cmu"
FILE = "open_motion.npz"


def load_open_motion() -> list[MotionSequence]:
    """Read the motion that comes with the package, sorted by name."""
    with (
        resources.files(__name__).joinpath(FILE).open("rb") as file,
        np.load(file, allow_pickle=False) as npz,
    ):
        names = sorted(key.removesuffix("/pose") for key in npz.files if key.endswith("/pose"))
        return [
            MotionSequence(
                dataset=DATASET,
                name=name,
                fps=npz["fps"].item(),
                pose=npz[f"{name}/pose"],
                trans=npz[f"{name}/trans"],
                betas=np.zeros(NUM_BETAS, np.float32),
            )
            for name in names
        ]
