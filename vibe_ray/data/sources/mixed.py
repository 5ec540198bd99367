"""A folder of motion in whatever formats it holds, told apart by the files' endings."""

from collections.abc import Iterator

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

    Raises:
        FileNotFoundError: No file of a known format there.
        ValueError: None of a format's files could be used.
    """
    found = [suffix for suffix in READERS if storage.list_files(root, suffix)]
    if not found:
        raise FileNotFoundError(f"no motion in {root}: expected {', '.join(READERS)} files")
    for suffix in found:
        yield from READERS[suffix](root)
