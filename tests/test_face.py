"""What `from vibe_ray import ...` gives, and what it costs."""

import subprocess
import sys

import pytest
import torch

import vibe_ray
from vibe_ray import Predictor, SmplParams, load_body
from vibe_ray.data.shards import read_manifest

PUBLIC = [
    *("BodyConfig", "Predictor", "SmplParams", "__version__", "load_body", "load_encoder"),
    *("people_in", "read_manifest", "read_motion_sequences", "read_pose_sequences", "recipes"),
]


def test_the_public_names_are_these() -> None:
    assert sorted(vibe_ray.__all__) == sorted(PUBLIC)
    assert set(PUBLIC) <= set(dir(vibe_ray))


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(vibe_ray, name) is not None


def test_a_name_is_the_one_of_its_module() -> None:
    assert vibe_ray.read_manifest is read_manifest
    assert "open_world" in vibe_ray.recipes.RECIPES
    with pytest.raises(AttributeError, match="has no attribute 'predictor'"):
        vibe_ray.predictor  # noqa: B018


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, vibe_ray\n"
        "heavy = {'torch', 'numpy', 'ray', 'pyarrow', 'scipy', 'pydantic'} & set(sys.modules)\n"
        "print(sorted(heavy))\n"
        "assert 'Predictor' in dir(vibe_ray)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"


def test_five_lines_are_enough() -> None:
    predictor = Predictor.from_checkpoint("open")
    params = predictor.predict(torch.zeros(20, 2048))
    assert isinstance(params, SmplParams)
    assert params.pose.shape == (20, 72)
    assert predictor.verts(params).shape == (
        20,
        len(load_body(vibe_ray.BodyConfig()).v_template),
        3,
    )
