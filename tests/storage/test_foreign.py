from pathlib import Path

import pytest

from vibe_ray.storage.foreign import check_download


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
