"""`python -m tests.benchmarks.usual_errors`: how is the packaged VIBE usually wrong?

Training motion is captured anew and estimated as in `tests.benchmarks.fits`. The second moments of
the poses' errors, and of their mirror images, are what `vibe_ray/fitting/usual_errors.npz` holds.
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import roma
import torch

from tests.benchmarks.fits import DETECTORS, Clips
from vibe_ray import storage
from vibe_ray.body.params import mirror_pose
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
    both = torch.cat([errors.flatten(1), mirror_pose(errors.flatten(1))])
    moments = (both.T @ both / len(both)).numpy().astype(np.float32)
    print(f"{len(errors)} frames, {np.sqrt(np.trace(moments)):.3f} rad in all")
    buffer = io.BytesIO()
    np.savez_compressed(buffer, moments=moments)
    storage.write_bytes_atomic(str(args.out), buffer.getvalue())


if __name__ == "__main__":
    main()
