"""May a checkpoint be put into a folder that a user names? Nothing of the user's is lost by it.

Into a new or empty folder it may. What another export left is replaced where the user says so, and
of it the files that its manifest proves to be of the checkpoint; other files stay as they are.
"""

from typing import Any

from vibe_ray import storage
from vibe_ray.config import json_object
from vibe_ray.features.frame_encoder import WEIGHTS_FILE
from vibe_ray.runs.integrity import FILES
from vibe_ray.runs.snapshots import (
    CONFIG_FILE,
    DISCRIMINATOR_FILE,
    GENERATOR_FILE,
    PRIOR_FILE,
    TRAINER_FILE,
)

BEFORE_HASHES = (
    *(CONFIG_FILE, GENERATOR_FILE, DISCRIMINATOR_FILE, PRIOR_FILE),
    WEIGHTS_FILE,
)
"""What stands beside a manifest that does not name its files: an older one's, or an encoder's."""
PROOFS = ("written_by", "encoder_id")
"""What the manifest of a package says; that of a data set has a schema version, too."""


def replaceable(out: str, overwrite: bool) -> set[str]:
    """Return the names of files in a folder that a checkpoint written into it takes the place of.

    Args:
        out: Folder that a user named, local or remote.
        overwrite: Whether the user said that a checkpoint there may be replaced.

    Raises:
        FileExistsError: Something is there that is no package of networks, or is one and the user
            did not say that it may go; says what was found and what to do.
    """
    found = set(storage.visible_files(out))
    if not found:
        return set()
    elsewhere = "give another --out"
    manifest = _package(out, found)
    if manifest is None:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise FileExistsError(
            f"{out} is not empty, and no exported checkpoint: it holds "
            f"{', '.join(sorted(found)[:3])}{more}; expected a new or empty folder: {elsewhere}"
        )
    if not overwrite:
        raise FileExistsError(
            f"a checkpoint stands in {out} already: --overwrite replaces it, or {elsewhere}"
        )
    return found & {storage.MANIFEST, *manifest.get(FILES, BEFORE_HASHES)}


def _package(out: str, found: set[str]) -> dict[str, Any] | None:
    """Return the manifest of networks to use; a checkpoint of a run holds where it goes on, too."""
    if storage.MANIFEST not in found or TRAINER_FILE in found:
        return None
    path = storage.join(out, storage.MANIFEST)
    try:
        manifest: dict[str, Any] = json_object(storage.read_bytes(path), path)
    except ValueError:
        return None
    is_package = "schema_version" not in manifest and any(name in manifest for name in PROOFS)
    return manifest if is_package else None
