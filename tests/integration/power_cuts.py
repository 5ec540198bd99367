"""What a power cut may leave of a folder, at every moment: only what was synced is sure to stay.

A file's content is what it was when it was last synced, nothing if it never was. A folder's names
are those of when it was last synced, or of now, or some of these and some of those: what was not
synced may be there or not.
"""

import os
import random
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Names = dict[str, tuple[int, bool]]
"""A folder's: number of the file or folder, and whether it is one."""
CHANGES = ("replace", "rename", "unlink", "link", "mkdir", "rmdir")


@dataclass(frozen=True)
class Cut:
    """A folder after a power cut."""

    files: tuple[tuple[str, bytes], ...]
    reached: int
    """What had been reached before, as `Disk.reached` was set."""

    def restore(self, folder: Path) -> None:
        for name, content in self.files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)


class Disk:
    """Watches what is written below a folder and what of it is synced."""

    def __init__(self, root: Path) -> None:
        self.reached = 0
        self.cuts: dict[tuple[tuple[str, bytes], ...], Cut] = {}
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._names: dict[int, Names] = {}
        self._held: list[int] = []
        self._random = random.Random(0)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Note at every sync and change what a power cut would leave."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", self._synced(os.fsync))
            for name in CHANGES:
                patch.setattr(os, name, self._changed(getattr(os, name)))
            self._note()
            yield
        self._note()
        for handle in self._held:
            os.close(handle)

    def _synced(self, fsync: Callable[[int], None]) -> Callable[[int], None]:
        def synced(handle: int) -> None:
            self._note()
            fsync(handle)
            found = os.fstat(handle)
            if stat.S_ISDIR(found.st_mode):
                self._names[found.st_ino] = _names(Path(f"/proc/self/fd/{handle}"))
            else:
                self._contents[found.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()
            self._held.append(os.dup(handle))  # so that its number is given to no other
            self._note()

        return synced

    def _changed(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def changed(*args: Any, **named: Any) -> Any:
            result = change(*args, **named)
            self._note()
            return result

        return changed

    def _note(self) -> None:
        for choose in (self._old, self._new, self._some, self._some):
            files = tuple(sorted(self._walk(self._root, self._root.stat().st_ino, choose)))
            self.cuts.setdefault(files, Cut(files, self.reached))

    def _walk(
        self, folder: Path | None, number: int, choose: Callable[[Names, Names], Names]
    ) -> Iterator[tuple[str, bytes]]:
        """Yield the files of a folder; of one that is gone by now only what was synced is known."""
        old = self._names.get(number, {})
        now = _names(folder) if folder is not None else old
        for name, (found, is_folder) in choose(old, now).items():
            if not is_folder:
                yield name, self._contents.get(found, b"")
                continue
            is_there = folder is not None and now.get(name) == (found, True)
            below = folder / name if folder is not None and is_there else None
            for path, content in self._walk(below, found, choose):
                yield f"{name}/{path}", content

    @staticmethod
    def _old(old: Names, _: Names) -> Names:
        return old

    @staticmethod
    def _new(_: Names, now: Names) -> Names:
        return now

    def _some(self, old: Names, now: Names) -> Names:
        chosen = {}
        for name in sorted({*old, *now}):
            found = self._random.choice((old, now)).get(name)
            if found is not None:
                chosen[name] = found
        return chosen


def _names(folder: Path) -> Names:
    with os.scandir(folder) as entries:
        return {entry.name: (entry.inode(), entry.is_dir()) for entry in entries}
