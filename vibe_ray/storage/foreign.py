"""What is a file really that a user has downloaded? Asked before a reader makes nonsense of it."""

from pathlib import Path
from typing import Any

import numpy as np

NUMPY_ARRAY: Any = np.empty(1).__reduce__()[0]
NUMPY_BUFFER: Any = np.empty(1).__reduce_ex__(5)[0]
NUMPY_NUMBER: Any = np.float64(1).__reduce__()[0]
"""By what functions pickles make arrays (old ones, new ones) and numbers. Asked of numpy, since the
modules in which it has them are its own affair: version 2 renamed them."""

HEAD_BYTES = 512
PAGE_STARTS = (b"<!doctype", b"<html", b"<?xml")
GIT_LFS = b"version https://git-lfs.github.com/spec"


def check_download(path: Path) -> None:
    """Make sure that a file is not what a failed download leaves in its place.

    Raises:
        ValueError: It is empty, a web page (a log-in, a quota), or Git LFS's pointer to a file.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        found = "is empty"
    elif head.startswith(PAGE_STARTS):
        found = "is a web page, such as a log-in or a message about a quota"
    elif head.startswith(GIT_LFS):
        found = "is Git LFS's pointer to the file, not the file"
    else:
        return
    raise ValueError(f"{path} {found}: download it again, and look at it before")
