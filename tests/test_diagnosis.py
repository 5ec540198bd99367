"""What the checks of an installation find in sound ones and in broken ones."""

import importlib.metadata
import subprocess
import sys
from email.message import Message
from pathlib import Path

import pytest

from vibe_ray import diagnosis, pretrained
from vibe_ray.diagnosis import Finding, examine, examine_all


def states(findings: list[Finding]) -> dict[str, str]:
    return {finding.subject: finding.state for finding in findings}


class Installed:
    """Stands for what the metadata of installed packages say."""

    def __init__(self, versions: dict[str, str], requires: dict[str, list[str]]) -> None:
        self.versions, self.requirements = versions, requires

    def version(self, name: str) -> str:
        if name not in self.versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return self.versions[name]

    def requires(self, name: str) -> list[str]:
        self.version(name)
        return self.requirements.get(name, [])

    def metadata(self, name: str) -> Message:
        self.version(name)
        message = Message()
        for extra in ("video", "dev", "serve"):
            message["Provides-Extra"] = extra
        return message

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("version", "requires", "metadata"):
            monkeypatch.setattr(importlib.metadata, name, getattr(self, name))


REQUIRES = {
    "vibe_ray": [
        *("ray[data]>=2.60,<3", "torch>=2.10", "numpy>=2", 'winlib; sys_platform == "win32"'),
        *('av>=18; extra == "video"', 'ray[serve]>=2.60; extra == "serve"'),
    ],
    "ray": ['pandas>=2; extra == "data"', 'fastapi; extra == "serve"', "click"],
}
SOUND = {
    "vibe_ray": "0.1.0",
    "ray": "2.60.0",
    "torch": "2.13.0+cpu",
    "numpy": "2.4",
    "pandas": "3.0",
}


def test_this_installation_is_sound(tmp_path: Path) -> None:
    findings = list(examine_all(store=str(tmp_path)))
    found = states(findings)
    core = ("devices", "weights", "body", "storage")
    assert {found[subject] for subject in core} == {"ok"}, findings
    assert found["videos"] in ("ok", "missing")
    assert not list(tmp_path.iterdir())
    body = next(finding for finding in findings if finding.subject == "body")
    assert body.found == "open: 6912 vertices"


def test_versions_are_those_that_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    Installed(SOUND, REQUIRES).install(monkeypatch)
    finding = diagnosis.check_packages()
    assert finding.state == "ok"
    assert finding.found == "vibe_ray 0.1.0, ray 2.60.0, torch 2.13.0+cpu, numpy 2.4"
    assert diagnosis.extras() == ["serve", "video"]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"torch": ""}, "no torch"),
        ({"torch": "2.1.0"}, "torch 2.1.0, needed: >=2.10"),
        ({"ray": "3.0"}, "ray 3.0, needed: <3,>=2.60"),
        ({"pandas": ""}, "no pandas"),
    ],
)
def test_packages_that_lack_or_are_too_old(
    change: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = {name: version for name, version in {**SOUND, **change}.items() if version}
    Installed(versions, REQUIRES).install(monkeypatch)
    finding = diagnosis.check_packages()
    assert (finding.state, finding.found) == ("broken", problem)
    assert "pip install" in finding.advice


def test_an_extra_is_missing_and_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    Installed(SOUND, REQUIRES).install(monkeypatch)
    finding = diagnosis.check_extra("video")
    assert finding == Finding("extra video", "missing", "no av", "pip install 'vibe_ray[video]'")
    assert diagnosis.check_extra("serve").found == "no fastapi"  # an extra of Ray's own
    Installed({**SOUND, "av": "18.1", "fastapi": "1"}, REQUIRES).install(monkeypatch)
    assert diagnosis.check_extra("video") == Finding("extra video", "ok", "av 18.1")
    assert diagnosis.check_extra("serve") == Finding("extra serve", "ok", "ray 2.60.0")


def test_a_folder_that_nobody_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    Installed({}, {}).install(monkeypatch)
    assert diagnosis.check_packages().state == "skipped"
    assert diagnosis.extras() == []


def test_whatever_a_check_fails_of_is_told() -> None:
    def fail() -> Finding:
        raise OSError("libcuda.so.1: cannot open shared object file")

    expected = Finding("devices", "broken", "OSError: libcuda.so.1: cannot open shared object file")
    assert examine("devices", fail) == expected


def test_weights_that_were_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pretrained.packaged("motion_prior") / "prior.safetensors"
    (tmp_path / "prior.safetensors").write_bytes(whole.read_bytes()[:-100])
    monkeypatch.setattr(pretrained, "packaged", lambda _: tmp_path)
    finding = examine("weights", diagnosis.check_weights)
    assert finding.state == "broken"
    assert "SafetensorError" in finding.found


def test_a_body_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "SMPL_NEUTRAL.pkl")
    finding = examine("body", lambda: diagnosis.check_body(path))
    assert finding.state == "broken"
    assert f"no body at {path}" in finding.found


def test_without_pyav_videos_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    finding = diagnosis.check_videos()
    assert finding.state == "missing"
    assert finding.advice == "pip install 'vibe_ray[video]'"


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    finding = examine("storage", lambda: diagnosis.check_storage(str(tmp_path / "file")))
    assert finding.state == "broken"
    assert "cannot write to" in finding.found
    assert diagnosis.check_storage("").state == "skipped"


def test_a_bucket_that_can_be_written(s3: str) -> None:
    assert diagnosis.check_storage(s3).state == "ok"


def test_the_checks_can_be_listed_where_nothing_can_be_imported() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'numpy', 'ray', 'av', 'safetensors', 'fsspec', 'psutil'):\n"
        "    sys.modules[name] = None\n"
        "from vibe_ray.doctor import _findings\n"
        "print([(f.subject, f.state) for f in _findings('open', '', with_ray=True)\n"
        "       if f.subject in ('devices', 'weights', 'body', 'Ray')])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    subjects = ("devices", "weights", "body", "Ray")
    assert run.stdout == f"{[(subject, 'broken') for subject in subjects]}\n"
