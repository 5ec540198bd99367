"""Conversions as a Ray Data job: the shards of one process, and nothing done again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import noise
from tests.distributed.several import Several
from tests.features.resnets import spin_checkpoint
from tests.integration.raw_sets import RAW_SETS
from vibe_ray import prepare
from vibe_ray.data import journal
from vibe_ray.data.recordings import ReadEach
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.data.sources import SOURCES
from vibe_ray.distributed import conversion
from vibe_ray.distributed.conversion import EncodingRequest, Request, on_cluster
from vibe_ray.features.encoding import encode_labels
from vibe_ray.features.frame_encoder import load_encoder

pytestmark = [pytest.mark.ray, pytest.mark.slow]
LENGTHS = (30, 5, 700, 12, 9, 40)


@pytest.fixture(autouse=True)
def shared(ray_cluster: None) -> None:
    """The cluster is all tests', and stays."""


@pytest.fixture
def labels(tmp_path: Path) -> str:
    return noise.write_labels(str(tmp_path / "labels"), LENGTHS)


def images(root: Path, gone: str) -> str:
    """Three clips of five images each, of which one clip lacks an image."""
    out = str(root / "labels")
    header = noise.header("labels/train", raw=str(root))
    generator = np.random.default_rng(0)
    with ShardWriter(out, header) as writer:
        for number in range(3):
            paths = [root / f"{number}/{frame}.png" for frame in range(5)]
            paths[0].parent.mkdir()
            for path in paths:
                pixels = generator.integers(0, 256, (48, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(path)
            box = np.tile(np.float32([32, 24, 40]), (5, 1))
            known: dict[str, Any] = {"video": "", "images": tuple(map(str, paths)), "box": box}
            known |= {"width": 64, "height": 48}
            writer.write(noise.labelled_sequence(f"clip_{number}", 5, number, **known))
    (root / gone).unlink()
    return out


def asked_by(commands: dict[str, list[str]]) -> dict[str, Request]:
    """What the commands would have recordings read of."""
    found: dict[str, Request] = {}
    for name, argv in commands.items():

        def note(_: Any, request: Request, device: str = "", name: str = name) -> None:
            found[name] = request

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(prepare, "_convert", note)
            prepare.main(argv)
    return found


def test_a_job_converts_as_one_process_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of paths that only this process understands; one recording of each is bad, which both tell.

    All sources' recordings are read by one job, since workers take long to start. In reasons,
    workers give paths in full, and so do some sources here.
    """
    monkeypatch.chdir(tmp_path)
    raw_sets = {name: raw_set for name, raw_set in RAW_SETS.items() if name != "features"}
    assert {*raw_sets} == {source.name for source in SOURCES} | {"videos"}
    for name, raw_set in raw_sets.items():
        raw_set.write(Path(name))
    argv = {
        name: [*raw_set.argv(name, Path(name), Path("out")), "--workers", "2"]
        for name, raw_set in raw_sets.items()
    }
    several = Several(asked_by(argv))
    items = several.recordings("cpu").items
    found = {
        item.name: read
        for item, read in zip(items, on_cluster(several, 2, "cpu")(items), strict=True)
    }

    def of_the_job(request: Request, num_workers: int, device: str) -> ReadEach[Any]:
        (of,) = (name for name, asked in several.requests.items() if asked == request)
        return lambda left: (found.pop(f"{of}:{recording.name}") for recording in left)

    monkeypatch.setattr(conversion, "on_cluster", of_the_job)
    for name, raw_set in raw_sets.items():
        told = []
        for workers in ("0", "2"):
            prepare.main([*argv[name][:-1], workers])
            told.append(capsys.readouterr().out.replace(f"{tmp_path}/", ""))
            Path("out").rename(f"{name}_{workers}")
        here, there = (noise.contents(Path(f"{name}_{workers}")) for workers in (0, 2))
        for made in (here, there):
            made["skipped.json"] = made["skipped.json"].replace(f"{tmp_path}/".encode(), b"")
        assert there == here, name
        assert told[0].split("left out")[1:] == told[1].split("left out")[1:]
        assert f"left out 1 of {raw_set.num_recordings} recordings" in told[1]
    assert not found


def test_a_job_encodes_as_one_process_does(labels: str, tmp_path: Path) -> None:
    encode_labels(labels, str(tmp_path / "here"), load_encoder("open"))
    prepare.main(["features", "--labels", labels, "--out", str(tmp_path / "job"),
                  "--workers", "2"])  # fmt: skip
    assert noise.contents(tmp_path / "job") == noise.contents(tmp_path / "here")


def test_a_job_of_pixels_leaves_out_what_cannot_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = images(tmp_path, gone="1/3.png")
    weights = tmp_path / "spin_model_checkpoint.pth.tar"
    torch.save(spin_checkpoint(), weights)
    flags = ["features", "--labels", labels, "--encoder", "resnet50", "--weights", str(weights)]
    prepare.main([*flags, "--out", str(tmp_path / "here")])
    prepare.main([*flags, "--out", str(tmp_path / "job"), "--workers", "1"])
    told = capsys.readouterr().out
    assert told.count("left out clip_1/0: no image at") == 2
    here, job = (read_pose_sequences(str(tmp_path / name)) for name in ("here", "job"))
    for one, other in zip(here, job, strict=True):
        assert one.sequence == other.sequence
        np.testing.assert_allclose(one.features, other.features, atol=2e-3)  # float16
    assert read_manifest(str(tmp_path / "job")).num_clips == 2


def test_a_job_cut_off_hands_out_nothing_that_is_finished(
    labels: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SAVE_S", 0.0)
    encoder, handed_out = load_encoder("open"), []
    encode_labels(labels, str(tmp_path / "here"), encoder)
    read_there = on_cluster(EncodingRequest(labels, None, "open", None), num_workers=1)

    def read(die_after: int) -> Callable[..., Any]:
        def noted(left: Any) -> Any:
            handed_out.append([recording.name for recording in left])
            for number, found in enumerate(read_there(left)):
                if number == die_after:
                    raise KeyboardInterrupt
                yield found

        return noted

    out = str(tmp_path / "job")
    with pytest.raises(KeyboardInterrupt):
        encode_labels(labels, out, encoder, read=read(3))
    encode_labels(labels, out, encoder, read=read(-1))
    assert handed_out == [[f"s{i}/0" for i in range(6)], ["s3/0", "s4/0", "s5/0"]]
    assert noise.contents(tmp_path / "job") == noise.contents(tmp_path / "here")
    encode_labels(labels, out, encoder, read=read(-1))
    assert len(handed_out) == 2


def test_more_workers_than_there_is_room_for(
    labels: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        prepare.main(["features", "--labels", labels, "--out", str(tmp_path / "job"),
                      "--workers", "99"])  # fmt: skip
    assert "--workers is 99, but" in capsys.readouterr().err
