"""Which names are those of one file or folder within another? No others are ever joined to a path.

Names come from command lines and from manifests, which anyone may have written: `..`, a slash or an
absolute path would lead out of the folder in which a command may write and delete.
"""

import re

_NAME = re.compile(r"[^/\\:\x00-\x1f]+")


def is_plain_name(name: str) -> bool:
    """Whether a name stays in its folder, on every system and in every store."""
    return bool(_NAME.fullmatch(name)) and name not in (".", "..")


def check_plain_name(name: str, what: str) -> str:
    """Return the name of one file or folder.

    Args:
        name: As it was given.
        what: Gave it, for the message: `--name`, or a manifest.

    Raises:
        ValueError: It is empty, or leads elsewhere.
    """
    if not is_plain_name(name):
        raise ValueError(
            f"{what} is {name!r}, expected the name of one file or folder, without / \\ : and not "
            ".. (a folder is given by --storage or --out)"
        )
    return name
