"""What every motion converter does besides reading its format: list, resample, ground, skip.

A folder is read file by file, in the same order on every machine; each file is a recording
(`recordings.py`), which is read when its turn comes or not at all.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.data.recordings import OnSkip, Recording, Recordings
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.ground import Ground
from vibe_ray.data.sources.plausible import clean_pieces
from vibe_ray.data.sources.retarget import retarget
from vibe_ray.data.sources.skeleton import SkeletonMotion

logger = logging.getLogger(__name__)

ReadFile = Callable[[str, str], MotionSequence]
"""Reads the file at a path as the sequence of a name; raises ValueError when it cannot be used."""


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    fps: float = 25.0
    """Frames per second of the result: VIBE's video rate."""
    min_frames: int = 16
    """Shorter motions, at `fps`, are left out: nothing can be learned from less than a window."""
    body: BodyConfig = field(default_factory=BodyConfig)
    """The body whose proportions the motion is carried over to."""

    def digest(self) -> str:
        """Tell settings apart, so that a run cut off is not taken up with other ones."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:12]


DEFAULT = ConversionConfig()


class Conversion:
    """Turns files into motion sequences of one frame rate that stand on the ground."""

    def __init__(self, config: ConversionConfig) -> None:
        arrays = load_body(config.body)
        self.config = config
        self.rest_joints = arrays.rest_joints()[0]
        """(24, 3) joints of the body at rest, in meters."""
        self._ground = Ground(arrays)

    def retarget(
        self,
        motion: SkeletonMotion,
        joints: Mapping[str, int],
        *,
        dataset: str,
        name: str,
        fps: float,
    ) -> MotionSequence:
        """Carry a foreign skeleton's motion over to the body, of mean shape."""
        pose, trans = retarget(motion, joints, self.rest_joints, fps)
        betas = np.zeros(NUM_BETAS, np.float32)
        return MotionSequence(
            dataset=dataset, name=name, fps=fps, pose=pose, trans=trans, betas=betas
        )

    def convert(
        self, root: str, paths: Sequence[str], read: ReadFile, on_skip: OnSkip
    ) -> Recordings[MotionSequence]:
        """Return the files at `paths` below `root` as recordings, none of which is read yet."""

        def recording(path: str) -> Recording[MotionSequence]:
            name = sequence_name(path, root)
            return Recording(
                name + PurePosixPath(path).suffix, path, lambda: self._finish(read(path, name))
            )

        return Recordings(root, [recording(path) for path in paths], on_skip)

    def _finish(self, sequence: MotionSequence) -> list[MotionSequence]:
        """Check a motion at its source rate, cut out glitches, resample and put on the ground."""
        if len(sequence.pose) < 2:
            raise ValueError(f"{len(sequence.pose)} frames: a motion has two or more")
        clean = clean_pieces(sequence.pose, sequence.fps, self.rest_joints)
        resampled = [
            replace(sequence, pose=sequence.pose[run], trans=sequence.trans[run]).resampled(
                self.config.fps
            )
            for run in clean
        ]
        pieces = [piece for piece in resampled if len(piece.pose) >= self.config.min_frames]
        if not pieces:
            longest = max((len(piece.pose) for piece in resampled), default=0)
            raise ValueError(
                f"no {self.config.min_frames} clean frames in a row, the longest run has {longest} "
                f"at {self.config.fps:g} frames per second"
            )
        num_kept = sum(len(piece.pose) for piece in pieces)
        logger.info(
            "%s: %.1f s in %d pieces of %.1f s recorded",
            sequence.name,
            num_kept / self.config.fps,
            len(pieces),
            len(sequence.pose) / sequence.fps,
        )
        if len(pieces) > 1:
            pieces = [
                replace(piece, name=f"{piece.name}_part{number:02d}")
                for number, piece in enumerate(pieces)
            ]
        return self._ground.place(pieces)


def find_files(root: str, suffix: str) -> list[str]:
    """Paths of the files below `root` that end in `suffix`, sorted; `root` may be one itself.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = storage.list_files(root, suffix)
    if not paths:
        raise FileNotFoundError(f"no {suffix} file in {root}: give the folder that holds them")
    return paths


def sequence_name(path: str, root: str) -> str:
    """Name of a recording: its path below `root` without the suffix, such as `subject/action`."""
    inner, inner_root = storage.resolve(path)[1], storage.resolve(root)[1]
    below = inner.removeprefix(inner_root.rstrip("/")).strip("/") or PurePosixPath(inner).name
    return PurePosixPath(below).with_suffix("").as_posix()
