"""The table of exports: as which files motion leaves, and by which module of this folder.

An export is one module, named as in the table, and one row. The module has a function `write_NAME`
that takes a path, an `Animation` (`animation.py`) and the body, and by keyword what its row names.
One file holds one person.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vibe_ray.body.model import BodyArrays
    from vibe_ray.export.animation import Animation


@dataclass(frozen=True)
class Export:
    name: str
    """Of the module, and of its function after `write_`."""
    suffix: str
    """Ending of its files."""
    keywords: tuple[str, ...]
    """Settings that its function has."""
    help: str

    def writer(self) -> Callable[..., None]:
        """Import the export's function.

        Raises:
            ImportError: It needs a package that is not installed; says which.
        """
        module = import_module(f"{__name__}.{self.name}")
        writer: Callable[..., None] = getattr(module, f"write_{self.name}")
        return writer

    def write(self, path: str, animation: "Animation", body: "BodyArrays", **settings: Any) -> None:
        """Write a file, with those of the settings that this export takes; others are for others.

        Raises:
            ImportError: It needs a package that is not installed; says which.
            ValueError: The motion cannot be told in this format; says why.
        """
        chosen = {name: value for name, value in settings.items() if name in self.keywords}
        self.writer()(path, animation, body, **chosen)


EXPORTS = (
    Export("glb", ".glb", ("camera",), "skinned mesh, animated, and the camera: glTF 2.0"),
    Export("bvh", ".bvh", ("fps", "names"), "skeleton with a T-pose rest, for retargeting"),
    Export("usda", ".usda", ("camera",), "the same as glb for USD's tools; needs vibe_ray[usd]"),
)
