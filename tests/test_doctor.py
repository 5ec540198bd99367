"""The doctor command: a table, JSON, and an exit code."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vibe_ray import doctor


def run(*argv: str) -> int:
    with pytest.raises(SystemExit) as exit_info:
        doctor.main(argv)
    code = exit_info.value.code
    assert isinstance(code, int)
    return code


def test_a_sound_installation_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--no-ray") == 0
    text = capsys.readouterr().out
    assert text.endswith("nothing is broken\n")
    for subject in ("packages", "devices", "weights", "body", "videos", "storage", "Ray"):
        assert subject in text


def test_what_is_broken_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    body = tmp_path / "[red]body.pkl"  # is no markup
    assert run("--no-ray", "--body", str(body)) == 1
    assert capsys.readouterr().out.endswith("broken: body\n")
    assert run("--no-ray", "--json", "--body", str(body)) == 1
    findings = {item["subject"]: item for item in json.loads(capsys.readouterr().out)}
    assert findings["body"]["state"] == "broken"
    assert str(body) in findings["body"]["found"]
    assert findings["Ray"]["state"] == "skipped"


@pytest.mark.slow
def test_ray_is_tried() -> None:
    """In a process of its own: one that has a cluster already would try and leave that."""
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:9"}  # nothing listens there
    command = [sys.executable, "-m", "vibe_ray.doctor", "--json"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    findings = {item["subject"]: item for item in json.loads(ended.stdout)}
    assert findings["Ray"]["state"] == "broken"
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in findings["Ray"]["found"]
