"""What several commands ask a cluster for, as one job: its workers are started once."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from vibe_ray.data.recordings import Recordings
from vibe_ray.distributed.conversion import Request


@dataclass(frozen=True)
class Several:
    requests: Mapping[str, Request]

    def everywhere(self) -> "Several":
        return Several({of: request.everywhere() for of, request in self.requests.items()})

    def recordings(self, device: str) -> Recordings[Any]:
        """All that is asked for, under names of its own."""
        items = [
            replace(item, name=f"{of}:{item.name}")
            for of, request in self.requests.items()
            for item in request.recordings(device).items
        ]
        return Recordings("", items)
