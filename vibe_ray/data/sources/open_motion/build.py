"""Builds `open_motion.npz` out of BVH files of CMU's database.

The files that are in the package come from Debian's `assimp-testmodels` 5.2.5, whose BVH files
01_01 and 01_03 are cgspeed's conversion of CMU's subject 01:

    apt-get download assimp-testmodels && dpkg -x assimp-testmodels_*.deb models
    python -m vibe_ray.data.sources.open_motion.build \
        --bvh models/usr/share/assimp/models/BVH/01_01.bvh \
              models/usr/share/assimp/models/BVH/01_03.bvh --out open_motion.npz
"""

import argparse
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vibe_ray import storage
from vibe_ray.data.sources import bvh
from vibe_ray.data.sources.conversion import ConversionConfig

FPS = 30.0
"""High enough for every video's rate, low enough for a small file."""


def main(argv: Sequence[str] | None = None) -> None:
    """Convert the BVH files named on the command line."""
    parser = argparse.ArgumentParser(description="Build the motion that comes with the package.")
    parser.add_argument(
        "--bvh", nargs="+", required=True, help="CMU's BVH files, such as 01_01.bvh"
    )
    parser.add_argument("--out", required=True, help="the .npz to write")
    args = parser.parse_args(argv)
    try:
        content = build(args.bvh)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    storage.write_bytes_atomic(args.out, content)


def build(paths: Sequence[str]) -> bytes:
    """Convert BVH files named `subject_number.bvh` to the bytes of an `.npz`."""
    arrays: dict[str, np.ndarray] = {"fps": np.array(FPS)}
    for path in paths:
        subject = Path(path).stem.partition("_")[0]
        for sequence in bvh.read_sequences(path, ConversionConfig(fps=FPS)):
            name = f"{subject}/{sequence.name}"  # as CMU files it, and as its AMC files are named
            arrays[f"{name}/pose"], arrays[f"{name}/trans"] = sequence.pose, sequence.trans
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
