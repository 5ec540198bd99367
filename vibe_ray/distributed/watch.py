"""Ends what is left of a cluster of our own when its GCS, the process that knows of all, has died.

Ray lets the driver wait for it for a minute and then ends it from below Python; some of its actors
never end at all. A GCS on one machine does not come back.
"""

import threading
from collections.abc import Iterable

import psutil

SECONDS = 2.0
"""Between two looks at the processes."""


class ClusterWatch(threading.Thread):
    """Looks after the processes that Ray started below this one."""

    def __init__(self, before: Iterable[psutil.Process]) -> None:
        """Find what Ray has started.

        Args:
            before: This process's children before Ray did; they are none of our business.
        """
        super().__init__(name="watch", daemon=True)
        self._roots = set(psutil.Process().children()) - set(before)
        self._gcs = [process for process in self._roots if "gcs_server" in _title(process)]
        self._known = set(self._roots)
        self._is_told_to_end = threading.Event()
        self.has_lost = threading.Event()
        """Set when the GCS has died and nothing else of the cluster is left."""

    def run(self) -> None:
        """Look, until told to end or the GCS has died."""
        while not self._is_told_to_end.wait(SECONDS):
            for root in self._roots:
                self._known |= _below(root)  # a process whose parent has died is found no more
            if not all(_is_alive(process) for process in self._gcs):
                self.end_all()
                self.has_lost.set()
                return

    def stop(self) -> None:
        """Look no longer: the cluster ends in its own way."""
        self._is_told_to_end.set()
        if self.is_alive():
            self.join()

    def end_all(self) -> None:
        """Kill what is left. A number that another process has by now is not taken for it."""
        for process in self._known:
            try:
                process.kill()
            except psutil.Error:
                continue


def _below(process: psutil.Process) -> set[psutil.Process]:
    try:
        return set(process.children(recursive=True))
    except psutil.Error:
        return set()


def _title(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
