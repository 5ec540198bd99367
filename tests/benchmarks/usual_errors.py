"""`python -m tests.benchmarks.usual_errors`: how is the packaged VIBE usually wrong?

Training motion is captured anew and estimated as in `tests.benchmarks.fits`; the covariance of the
poses' errors, and of their mirror images, is what `vibe_ray/fitting/usual_errors.npz` holds.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import roma
import torch

from tests.benchmarks.fits import DETECTORS, Clips
from vibe_ray.body.skeletons import SMPL_MIRROR
from vibe_ray.fitting.usual_errors import FILE


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(prog="tests.benchmarks.usual_errors", description=__doc__)
    parser.add_argument("--data", required=True, help="folder of `prepare open`, with its motion")
    parser.add_argument("--num", type=int, default=200, help="clips")
    parser.add_argument("--vibe", default="open")
    parser.add_argument("--encoder", default="open")
    parser.add_argument("--out", type=Path, default=FILE)
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    motion = str(Path(args.data) / "motion/train")
    clips = Clips(motion, args.num, DETECTORS["measured"], args.encoder)
    errors = torch.cat(
        [
            roma.rotmat_to_rotvec(one.motion.rotmat.mT @ one.rotmat)
            for one in clips.estimates(args.vibe)
        ]
    ).double()  # (frames, 24, 3)
    mirrored = errors[:, SMPL_MIRROR] * torch.tensor([1.0, -1.0, -1.0])
    both = torch.cat([errors, mirrored]).flatten(1)
    covariance = (both.T @ both / len(both)).numpy().astype(np.float32)
    print(f"{len(errors)} frames, {np.sqrt(np.trace(covariance)):.3f} rad in all")
    with args.out.open("wb") as file:
        np.savez_compressed(file, covariance=covariance)


if __name__ == "__main__":
    main()
