import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vibe_ray.storage.foreign import NUMPY_ARRAY, NUMPY_BUFFER, NUMPY_NUMBER, check_download


@pytest.mark.parametrize(
    ("function", "value", "protocol"),
    [(NUMPY_ARRAY, np.ones(3), 2), (NUMPY_BUFFER, np.ones(3), 5), (NUMPY_NUMBER, np.ones(3)[0], 2)],
)
def test_numpys_functions_are_those_that_its_pickles_name(
    function: Any, value: Any, protocol: int
) -> None:
    content = pickle.dumps(value, protocol)
    named = [argument for _, argument, _ in pickletools.genops(content) if argument]
    assert function.__name__ in " ".join(map(str, named))
    assert pickle.loads(content).tolist() == value.tolist()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html><title>Quota exceeded</title>", "is a web page"),
        (b"\xef\xbb\xbf<HTML>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is Git LFS's pointer"),
    ],
)
def test_what_a_failed_download_leaves(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"model\.pkl {what}.*download it again"):
        check_download(path)


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"\x80\x02}q", b"HIERARCHY\n", b"<"])
def test_files_are_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    check_download(path)
