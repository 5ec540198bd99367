"""Opening a video, wherever it lies: a file, a folder of pictures, or either in an object store.

    with open_video("s3://bucket/clip.mp4") as video:
        for frame in video.frames():
            ...

Memory holds a few frames, however long the video is; what lies in an object store is copied to the
local disk first, since a video's index often stands at its end.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path, PurePosixPath

from vibe_ray import storage
from vibe_ray.video.frames import FocalWish, Video
from vibe_ray.video.image_folder import SUFFIXES as PICTURES
from vibe_ray.video.image_folder import ImageFolder

VIDEOS = (
    *(".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts"),
    *(".m2ts", ".wmv", ".flv", ".ogv", ".3gp", ".mxf", ".gif"),
)
"""Endings by which the videos of a folder are known; a file that is named needs none."""


@contextmanager
def open_video(
    path: str, *, focal: FocalWish | None = None, fps: float | None = None
) -> Iterator[Video]:
    """Open a video file or a folder of pictures, for as long as the block.

    Args:
        path: A local one, or one in a store (`storage.paths`).
        focal: What is known of the camera; else the file is asked, else a usual lens is assumed.
        fps: Of a folder of pictures; a video file has its own timestamps.

    Raises:
        FileNotFoundError: There is nothing at the path.
        ValueError: It is no video, has no picture (only audio), frames too large, or is a playlist.
        ImportError: PyAV is missing (extra `video`).
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise ValueError(f"{fps} frames per second; expected a positive number")
    wish = focal or FocalWish()
    with storage.local_copy(path) as local:
        if local.is_dir():
            yield ImageFolder(local, path, wish, fps)
            return
        if not local.exists():
            raise FileNotFoundError(f"no video at {path}")
        if not local.is_file():
            raise ValueError(f"{path} is neither a file nor a folder")
        yield _video_file_class()(local, path, wish)


def _video_file_class() -> type:
    return _of_pyav("container", "VideoFile")


def video_writer_class() -> type:
    """Import `writing.VideoWriter`.

    Raises:
        ImportError: PyAV is missing (extra `video`).
    """
    return _of_pyav("writing", "VideoWriter")


def _of_pyav(module: str, name: str) -> type:
    """Import a class from a module of this folder that needs PyAV, which is an extra."""
    try:
        found: type = getattr(import_module(f"vibe_ray.video.{module}"), name)
    except ImportError as error:
        raise ImportError(
            f"video files need PyAV ({error}): pip install 'vibe_ray[video]'"
        ) from None
    return found


def find_videos(path: str) -> list[tuple[str, str]]:
    """Find the videos at a path: itself, if it is a file or a folder of pictures, or those below.

    Returns:
        Paths, each with a name: of those below a folder, the path within it.

    Raises:
        FileNotFoundError: There is a folder with neither videos nor pictures.
    """
    base = path.rstrip("/").rsplit("/", 1)[-1]
    files = [file for file in storage.list_files(path) if file != path.rstrip("/")]
    if not files and not storage.is_remote(path) and Path(storage.absolute(path)).is_dir():
        raise FileNotFoundError(
            f"neither videos nor pictures in {path}, which is empty: give a video, or the folder "
            "that holds some"
        )
    if not files:
        return [(path, base)]  # a file, or nothing: who opens it will tell
    root = storage.absolute(path)
    below = [(file, file.removeprefix(root).lstrip("/")) for file in files]
    if videos := [(file, name) for file, name in below if _suffix(name) in VIDEOS]:
        return videos
    if any(_suffix(name) in PICTURES for _, name in below):
        return [(path, base)]
    raise FileNotFoundError(
        f"neither videos nor pictures in {path}: it has {len(files)} files such as {below[0][1]}"
    )


def stem_of(name: str) -> str:
    """Return a video's name without its ending, whatever that is."""
    return str(PurePosixPath(name).with_suffix(""))


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()
