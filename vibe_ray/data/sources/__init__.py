"""The table of sources: what can be converted, and by which module of this folder.

A source is one module, named as in the table, and one row. The module has a function
`read_sequences` that lists what is there and returns `Recordings`, of which nothing is read yet.
For motion it is called with the raw folder or address and a `ConversionConfig`, for labels with the
raw folder or address and the name of a split.

Skeletons other than SMPL's become a `SkeletonMotion` (`skeleton.py`), whose joints are matched by
name and structure (`rigs.py`) and carried over to SMPL's pose (`retarget.py`). What all motion
shares, from listing files to cutting out glitches (`plausible.py`) and finding the floor
(`ground.py`), is in `conversion.py`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vibe_ray.data.recordings import Recordings
    from vibe_ray.data.schema import MotionSequence
    from vibe_ray.data.sources.conversion import ConversionConfig


@dataclass(frozen=True)
class Source:
    name: str
    """Of the module, of the command and of the data set."""
    kind: Literal["motion", "labels"]
    help: str
    suffix: str = ""
    """Motion: the ending that tells its files in a folder of mixed formats; none if none does."""
    hints: tuple[Literal["names", "source_fps"], ...] = ()
    """Motion: what a user may say of the recordings: joints' names, true frame rates."""
    takes_bodies: bool = False
    """Labels: whether a licensed SMPL makes its 3D key-points (`bodies` of the reader)."""

    def reader(self) -> "Callable[..., Recordings[Any]]":
        """Import the source's `read_sequences`."""
        module = import_module(f"{__name__}.{self.name}")
        reader: Callable[..., Recordings[Any]] = module.read_sequences
        return reader


SOURCES = (
    Source("amass", "motion", "AMASS recordings, SMPL-H or SMPL-X .npz", ".npz", ("source_fps",)),
    Source(
        "bvh",
        "motion",
        "BVH recordings of any rig of a person, any zero pose, any axis up",
        ".bvh",
        ("names", "source_fps"),
    ),
    Source(
        "amc",
        "motion",
        "ASF/AMC recordings, as CMU and HDM05 have them",
        ".amc",
        ("names", "source_fps"),
    ),
    Source("deepmimic", "motion", "DeepMimic's motions, as pybullet has them"),
    Source("threedpw", "labels", "3DPW, sequenceFiles and imageFiles", takes_bodies=True),
    Source("penn_action", "labels", "Penn Action, labels and frames"),
    Source("mpi_inf_3dhp", "labels", "MPI-INF-3DHP, training and test set"),
    Source("insta_variety", "labels", "InstaVariety, TFRecord files as HMMR's authors give them"),
    Source("posetrack", "labels", "PoseTrack 2018 and 2021, annotations and images"),
    Source("human36m", "labels", "Human3.6M, videos and positions; MoSh's SMPL if it is there"),
)


def read_motion(root: str, config: "ConversionConfig | None" = None) -> "Iterator[MotionSequence]":
    """Yield every recording of motion below `root` (folder, file or s3://), format by format.

    Of recordings with one name in several formats, the later ones get their ending to it.

    Args:
        root: Where they are.
        config: What is known of them; the defaults.

    Raises:
        FileNotFoundError: No file of a known format there.
        ValueError: None of a format's files could be used.
    """
    from vibe_ray import storage  # the table alone is for those who only want to know what there is
    from vibe_ray.data.sources.conversion import DEFAULT

    known = [source for source in SOURCES if source.suffix]
    found = [source for source in known if storage.list_files(root, source.suffix)]
    if not found:
        endings = ", ".join(source.suffix for source in known)
        raise FileNotFoundError(f"no motion in {root}: expected {endings} files")
    taken: set[str] = set()
    for source in found:
        yield from with_own_names(source.reader()(root, config or DEFAULT), taken, source.suffix)


def gather_motion(
    folders: Iterable[str],
    config: "ConversionConfig | None" = None,
    watch: "Callable[[Iterable[MotionSequence]], Iterable[MotionSequence]]" = iter,
) -> "list[MotionSequence]":
    """Collect the packaged open motion, DeepMimic's, and what is below folders of a user's.

    Args:
        folders: As for `read_motion`. Clips of a name that is taken get a `_` to it.
        config: What is known of the user's recordings.
        watch: Passes the recordings of a folder on, one by one, and may show how far it is.
    """
    from vibe_ray.data.sources import deepmimic
    from vibe_ray.data.sources.open_motion import load_open_motion

    motion = [*load_open_motion(), *deepmimic.read_sequences()]
    taken = {clip.name for clip in motion}
    for folder in folders:
        motion += with_own_names(watch(read_motion(folder, config)), taken, "_")
    return motion


def with_own_names(
    sequences: "Iterable[MotionSequence]", taken: set[str], ending: str
) -> "Iterator[MotionSequence]":
    """Add an ending to names that others have already, which `taken` remembers."""
    for sequence in sequences:
        name = sequence.name
        while name in taken:
            name += ending
        taken.add(name)
        yield sequence if name == sequence.name else replace(sequence, name=name)
