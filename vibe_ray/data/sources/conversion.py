"""What every motion converter does besides reading its format: list, resample, ground, skip.

A folder is read file by file, in the same order on every machine; each file is a recording
(`recordings.py`), which is read when its turn comes or not at all. One odd file never ends a
conversion: whatever goes wrong in it is its reason to be left out.

Which way is up, ahead and left is asked of each recording (`upright.py`, `stance.py`): one that
lies or hangs through a whole clip of standing or walking is turned upright where the evidence is
clear, and named where not; one of left-handed axes is mirrored back. What was mended is logged.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import PurePosixPath

import numpy as np
from scipy.spatial.transform import Rotation

from vibe_ray import storage
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.data.recordings import OnSkip, Recording, Recordings, recording_of
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources.ground import Ground
from vibe_ray.data.sources.hints import checked_fps, matching_pattern
from vibe_ray.data.sources.plausible import clean_pieces
from vibe_ray.data.sources.retarget import retarget
from vibe_ray.data.sources.skeleton import SkeletonMotion, upright_axes
from vibe_ray.data.sources.stance import is_mirrored, mirrored
from vibe_ray.data.upright import Posture, find_posture

logger = logging.getLogger(__name__)

ReadFile = Callable[[str, str], MotionSequence]
"""Reads the file at a path as the sequence of a name; raises ValueError when it cannot be used."""
MAX_FILE_BYTES = 2**30
"""Larger files are skipped; an hour of all joints as text is a tenth of it."""


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    fps: float = 25.0
    """Frames per second of the result: VIBE's video rate."""
    min_frames: int = 16
    """Shorter motions, at `fps`, are left out: nothing can be learned from less than a window."""
    body: BodyConfig = field(default_factory=BodyConfig)
    """The body whose proportions the motion is carried over to."""
    names: Mapping[str, str] = field(default_factory=dict)
    """The source's joint by SMPL's, where names do not tell it: `hints.read_names`."""
    source_fps: Mapping[str, float] = field(default_factory=dict)
    """Frame rates by pattern, where files do not tell theirs or lie: `hints.read_source_fps`."""

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

    def stated_rate(self, name: str) -> float | None:
        """The frame rate that the configuration has for a recording, if it has one."""
        pattern = matching_pattern(name, self.config.source_fps)
        return None if pattern is None else self.config.source_fps[pattern]

    def rate(self, name: str, recorded_fps: float) -> float:
        """Frame rate of a recording: as stated, else as its file says.

        Raises:
            ValueError: The file states a rate that no recording has.
        """
        stated = self.stated_rate(name)
        return checked_fps(recorded_fps, "its frame rate") if stated is None else stated

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
        motion.check_numbers()
        if is_mirrored(motion, joints):
            logger.warning("%s: mirrored, as in left-handed axes; mirrored back", name)
            motion = mirrored(motion, joints)
        pose, trans = retarget(motion, joints, self.rest_joints, fps)
        betas = np.zeros(NUM_BETAS, np.float32)
        return MotionSequence(
            dataset=dataset, name=name, fps=fps, pose=pose, trans=trans, betas=betas
        )

    def convert(
        self, root: str, paths: Sequence[str], read: ReadFile, on_skip: OnSkip
    ) -> Recordings[MotionSequence]:
        """Return the files at `paths` below `root` as recordings, none of which is read yet.

        Two files of one name, such as `walk.bvh` and `walk.BVH`, keep their endings.
        """
        names = sequence_names(paths, root)
        used = {matching_pattern(name, self.config.source_fps) for name in names.values()}
        unused = [pattern for pattern in self.config.source_fps if pattern not in used]
        if unused:
            logger.warning("no recording in %s is called %s", root, " or ".join(unused))

        def recording(path: str, name: str) -> Recording[MotionSequence]:
            known_as = sequence_name(path, root) + PurePosixPath(path).suffix
            return recording_of(known_as, path, lambda: self._finish(read(path, name)))

        return Recordings(root, [recording(*item) for item in names.items()], on_skip)

    def _finish(self, sequence: MotionSequence) -> list[MotionSequence]:
        """Check a motion at its source rate, turn it upright, cut, resample, put on the ground."""
        if len(sequence.pose) < 2:
            raise ValueError(f"it has {len(sequence.pose)} frames: a motion has two or more")
        sequence = self._upright(sequence)
        clean = clean_pieces(sequence.pose, sequence.trans, sequence.fps, self.rest_joints)
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

    def _upright(self, sequence: MotionSequence) -> MotionSequence:
        """Turn a recording upright that clearly is not; name one that does not seem to be."""
        posture = find_posture(sequence, self.rest_joints)
        if posture.is_clear:
            logger.warning("%s: %s; turned upright", sequence.name, posture.problem)
            return _turned(sequence, posture)
        if posture.problem:
            logger.warning("%s: %s", sequence.name, posture.problem)
        return sequence


def _turned(sequence: MotionSequence, posture: Posture) -> MotionSequence:
    """The same motion in a world in which the body's way up is y."""
    axes = upright_axes(posture.up)
    pose = sequence.pose.copy()
    pose[:, :3] = (Rotation.from_matrix(axes) * Rotation.from_rotvec(pose[:, :3])).as_rotvec()
    return replace(sequence, pose=pose, trans=(sequence.trans @ axes.T).astype(np.float32))


def read_file(path: str) -> bytes:
    """Read a file of a reasonable size.

    Raises:
        ValueError: It is larger than `MAX_FILE_BYTES`.
    """
    filesystem, inner = storage.resolve(path)
    num_bytes = filesystem.get_file_info(inner).size or 0
    if num_bytes > MAX_FILE_BYTES:
        raise ValueError(
            f"it has {num_bytes / 2**20:.0f} MiB: files of up to {MAX_FILE_BYTES / 2**20:.0f} MiB "
            "are read"
        )
    return storage.read_bytes(path)


def read_text(path: str) -> str:
    """Read a text of a reasonable size; letters that are no UTF-8 are replaced."""
    return read_file(path).decode("utf-8", errors="replace")


def find_files(root: str, suffix: str, within: str = "") -> list[str]:
    """Paths of the files below `root` that end in `suffix`, sorted; `root` may be one itself.

    Args:
        root: What the user gave.
        suffix: The ending, with its dot.
        within: The folder below `root` in which alone they are looked for.

    Hidden files, such as the `._name` that a Mac leaves beside each, are passed over.

    Raises:
        FileNotFoundError: There is none.
    """
    folder = storage.join(root, within) if within else root
    found = storage.list_files(folder, suffix)
    paths = [path for path in found if path == root or not _is_hidden(path)]
    if not paths:
        raise FileNotFoundError(
            f"no {suffix} file in {folder}: give the folder that holds {within or 'them'}"
        )
    return paths


def _is_hidden(path: str) -> bool:
    return PurePosixPath(path).name.startswith(".")


def sequence_names(paths: Sequence[str], root: str) -> dict[str, str]:
    """Name of each recording, by path; files that differ in their ending alone keep it."""
    names = {path: sequence_name(path, root) for path in paths}
    count = Counter(names.values())
    paths_of: dict[str, str] = {}
    for path, name in names.items():
        new = name if count[name] == 1 else name + PurePosixPath(path).suffix
        while new in paths_of:
            new += "_"
        paths_of[new] = path
    return {path: name for name, path in paths_of.items()}


def sequence_name(path: str, root: str) -> str:
    """Name of a recording: its path below `root` without the suffix, such as `subject/action`."""
    inner, inner_root = storage.resolve(path)[1], storage.resolve(root)[1]
    below = inner.removeprefix(inner_root.rstrip("/")).strip("/") or PurePosixPath(inner).name
    return PurePosixPath(below).with_suffix("").as_posix()
