"""A folder of motion in whatever formats it holds, told apart by the files' endings."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from vibe_ray import storage
from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources import amass, amc, bvh

READERS = {
    ".bvh": bvh.read_sequences,
    ".amc": amc.read_sequences,
    ".npz": amass.read_sequences,
}


def read_folder(root: str) -> Iterator[MotionSequence]:
    """Yield every recording below `root` (folder, file or s3://), format by format.

    Of recordings with one name in several formats, the later ones get their ending to it.

    Raises:
        FileNotFoundError: No file of a known format there.
        ValueError: None of a format's files could be used.
    """
    found = [suffix for suffix in READERS if storage.list_files(root, suffix)]
    if not found:
        raise FileNotFoundError(f"no motion in {root}: expected {', '.join(READERS)} files")
    taken: set[str] = set()
    for suffix in found:
        yield from with_own_names(READERS[suffix](root), taken, suffix)


def with_own_names(
    sequences: Iterable[MotionSequence], taken: set[str], ending: str
) -> Iterator[MotionSequence]:
    """Add an ending to names that others have already, which `taken` remembers."""
    for sequence in sequences:
        name = sequence.name
        while name in taken:
            name += ending
        taken.add(name)
        yield sequence if name == sequence.name else replace(sequence, name=name)
