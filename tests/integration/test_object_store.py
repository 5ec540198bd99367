"""Commands with every path in object storage, and a store that goes away in the middle of one."""

import json
import pickle
import threading
from collections.abc import Iterator

import pytest
import torch

from tests.data import noise
from tests.data.sources.conftest import bvh_text
from tests.data.sources.test_amass import make_npz
from tests.integration.object_server import ObjectServer
from tests.integration.survival import NARROW, hashes, measured
from vibe_ray import evaluate, prepare, storage, train
from vibe_ray.data.sequences import read_motion_sequences
from vibe_ray.data.shards import read_manifest
from vibe_ray.distributed.serving import VibeReplica
from vibe_ray.inference import Predictor
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.step_folders import last_step
from vibe_ray.serving.admission import Limits
from vibe_ray.training.learner import Learner
from vibe_ray.training.recorder import RunRecorder

NUM_STEPS = 24
FLAGS = [
    *("--recipe", "smoke", "--checkpoint-steps", "4"),
    *(f"--set={name}={value}" for name, value in NARROW.items()),
    f"--set=steps_per_epoch={NUM_STEPS // 2}",
]


@pytest.fixture(scope="module")
def bucket(object_server: ObjectServer) -> Iterator[str]:
    """A bucket with data, for all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in object_server.environment.items():
            patch.setenv(name, value)
        bucket = object_server.create_bucket("commands")
        noise.write_all(f"{bucket}/data")
        yield bucket


@pytest.fixture(scope="module")
def here(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What a run on this disk, without Ray, ends as."""
    folder = str(tmp_path_factory.mktemp("here"))
    noise.write_all(f"{folder}/data")
    run(f"{folder}/data", folder, "run")
    return f"{folder}/run"


def run(data: str, runs: str, name: str, *flags: str, workers: int = 0) -> None:
    where = ["--data", data, "--storage", runs, "--name", name, "--workers", str(workers)]
    train.main([*where, *FLAGS, *flags])


@pytest.mark.parametrize("source", ["amass", "bvh"])
def test_recordings_in_a_store_become_shards_in_it(
    source: str, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = f"{bucket}/raw/{source}", f"{bucket}/{source}/train"
    content = make_npz() if source == "amass" else bvh_text().encode()
    suffix = "npz" if source == "amass" else "bvh"
    for name in ("subject/walk", "subject/run"):
        storage.write_bytes_atomic(f"{raw}/{name}.{suffix}", content)
    prepare.main([source, "--raw", raw, "--out", out])
    assert f"{out}: 2 clips" in capsys.readouterr().out
    assert [s.name for s in read_motion_sequences(out)] == ["subject/run", "subject/walk"]
    files = [f"{out}/{file.name}" for file in read_manifest(out).files]
    assert storage.list_files(out) == sorted([*files, f"{out}/manifest.json"])
    prepare.main(["validate", out])
    assert "no errors" in capsys.readouterr().out
    storage.write_bytes_atomic(files[0], b"damaged")
    with pytest.raises(SystemExit):
        prepare.main(["validate", out])


@pytest.mark.slow
def test_a_run_whose_every_path_is_remote(
    bucket: str, here: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The same as on a disk, also when taken up again; and no key is in anything it left."""
    runs = f"{bucket}/runs"
    run(f"{bucket}/data", runs, "remote")
    assert hashes(f"{runs}/remote") == hashes(here)
    assert measured(f"{runs}/remote") == measured(here)
    storage.delete_directory(find_checkpoint(f"{runs}/remote", "last"))
    assert last_step(f"{runs}/remote") < NUM_STEPS
    run(f"{bucket}/data", runs, "remote", "--resume")
    assert hashes(f"{runs}/remote") == hashes(here)

    answer, report = f"{runs}/metrics.json", f"{runs}/report.html"
    evaluate.main(
        [f"{runs}/remote", "--data", f"{bucket}/data", "--json", answer, "--report", report]
    )
    assert "pa_mpjpe_mm" in json.loads(storage.read_bytes(answer))["vibe"]
    assert b"<html" in storage.read_bytes(report)

    checkpoint = find_checkpoint(f"{runs}/remote")
    served, local = (
        VibeReplica(checkpoint, None, Limits(), None).predictor,
        Predictor.from_checkpoint(find_checkpoint(here)),
    )
    x = torch.randn(7, noise.F)
    assert torch.equal(served.predict(x).rotmat, local.predict(x).rotmat)

    texts = [storage.read_bytes(path) for path in storage.list_files(runs)]
    texts += [str(capfd.readouterr()).encode(), caplog.text.encode()]
    texts.append(pickle.dumps(storage.resolve(runs)))
    assert len(texts) > 10
    assert not any(b"a-secret-of-the-tests" in text for text in texts)


@pytest.mark.slow
def test_a_store_that_goes_away_in_the_middle_of_an_epoch(
    bucket: str,
    here: str,
    object_server: ObjectServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At a step that the run has just done; it comes back when the run has noticed."""
    run_dir = f"{bucket}/runs/interrupted"
    as_before = RunRecorder.step
    ended = threading.Event()

    def come_back() -> None:
        while "has failed for" not in caplog.text and not ended.wait(0.05):
            pass
        object_server.start()

    thread = threading.Thread(target=come_back)

    def interrupt(recorder: RunRecorder, learner: Learner) -> None:
        as_before(recorder, learner)
        if learner.step == NUM_STEPS // 2 - 2:
            object_server.kill()
            thread.start()

    monkeypatch.setattr(RunRecorder, "step", interrupt)
    try:
        run(f"{bucket}/data", f"{bucket}/runs", "interrupted")
    finally:
        ended.set()
        thread.join()
    assert "has failed for 0 s" in caplog.text
    assert "answers again after" in caplog.text
    assert hashes(run_dir) == hashes(here)
    assert measured(run_dir) == measured(here)


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_on_ray_whose_every_path_is_remote(bucket: str, here: str, ray_cluster: None) -> None:
    run_dir = f"{bucket}/runs/on_ray"
    run(f"{bucket}/data", f"{bucket}/runs", "on_ray", workers=1)
    assert hashes(run_dir) == hashes(here), "one worker computes what none does"
    assert measured(run_dir) == measured(here)
