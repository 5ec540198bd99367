"""Measuring checkpoints: numbers against an evaluation by hand, and what is refused."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data import noise
from tests.data.noise import F
from tests.training.tiny import random_batch, tiny, tiny_state, with_keypoints
from vibe_ray.body.model import BodyConfig, load_body
from vibe_ray.data.sequences import read_pose_sequences
from vibe_ray.data.shards import ShardWriter, read_manifest
from vibe_ray.evaluation.evaluator import evaluate
from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.evaluation.scores import EvaluationResult
from vibe_ray.features.keypoint_encoder import NUM_INPUTS
from vibe_ray.features.with_keypoints import MARK
from vibe_ray.reports import measuring
from vibe_ray.reports.evaluation_page import render
from vibe_ray.reports.gallery import Prediction
from vibe_ray.reports.measuring import measure_checkpoints
from vibe_ray.runs.snapshots import load_generator


def expected(checkpoint: str, root: Path, protocol: str = "open") -> EvaluationResult:
    _, generator = load_generator(Path(checkpoint))
    sequences = read_pose_sequences(str(root / "open_3d/test"))
    body = load_body(BodyConfig())
    return evaluate(generator, sequences, body, PROTOCOLS[protocol], window_length=5)


@pytest.mark.parametrize("protocol", sorted(set(PROTOCOLS) - {"human36m_p2"}))
def test_one_checkpoint(checkpoints: list[str], test_split: Path, protocol: str) -> None:
    measured = measure_checkpoints(checkpoints[:1], data_root=str(test_split), protocol=protocol)
    found = json.loads(json.dumps(measured.to_dict()))
    result = expected(checkpoints[0], test_split, protocol)
    assert found["vibe"] == pytest.approx(result.metrics, rel=1e-3)
    assert ("pve_mm" in found["vibe"]) == PROTOCOLS[protocol].needs_mesh
    assert "frame_baseline" not in found
    assert found["num_frames"] == result.num_frames <= 23 + 8 + 12
    assert found["checkpoints"] == checkpoints[:1]
    assert found["data_hash"] == read_manifest(str(test_split / "open_3d/test")).hash()


def test_seeds_give_medians_beside_a_baseline(checkpoints: list[str], test_split: Path) -> None:
    *seeds, baseline = checkpoints
    found = measure_checkpoints(seeds, baseline, str(test_split)).to_dict()
    metrics = [expected(checkpoint, test_split).metrics for checkpoint in seeds]
    medians = {name: np.median([m[name] for m in metrics]) for name in metrics[0]}
    assert found["vibe"] == pytest.approx(medians, rel=1e-4)
    result = expected(baseline, test_split)
    assert found["frame_baseline"] == pytest.approx(result.metrics, rel=1e-4)


def test_the_sequences_of_median_and_worst_error_are_pictured(
    checkpoints: list[str], test_split: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: dict[str, list[str]] = {}

    def pictures(sequence: noise.PoseSequence, predictions: list[Prediction], _: object) -> list:
        assert all(len(p.params.betas) == sequence.num_frames for p in predictions)
        shown[sequence.sequence] = [p.label for p in predictions]
        return []

    monkeypatch.setattr(measuring, "sequence_pictures", pictures)
    measured = measure_checkpoints(checkpoints[:2], checkpoints[2], str(test_split))
    html = render(measured.report("python -m <command>"))
    scores = measured.runs[0].result.per_sequence
    _, *chosen = sorted(scores, key=lambda score: score.metrics["pa_mpjpe_mm"])
    assert shown == {score.sequence: ["Frame baseline", "VIBE"] for score in chosen}
    assert "python -m &lt;command&gt;" in html
    assert "2 training run(s) evaluated on 43 frames of open_3d test." in html


def test_a_sequence_in_which_nothing_is_known(checkpoints: list[str], tmp_path: Path) -> None:
    none = dict.fromkeys(("has_smpl", "has_kp_3d", "valid"), np.zeros(20, bool))
    with ShardWriter(str(tmp_path / "open_3d/test"), noise.header("open_3d/test")) as writer:
        writer.write(noise.known_sequence("all", 20))
        writer.write(noise.pose_sequence("none", 20, **none))
    measured = measure_checkpoints(checkpoints[:1], data_root=str(tmp_path))
    assert measured.runs[0].result.num_frames == 20
    assert [p.caption[:3] for p in measured.report("").pictures] == ["all"] * 4


def test_features_of_another_width(checkpoints: list[str], tmp_path: Path) -> None:
    header = noise.header("open_3d/test", feature_dim=F + 1)
    features = np.zeros((20, F + 1), np.float16)
    with ShardWriter(str(tmp_path / "open_3d/test"), header) as writer:
        writer.write(noise.pose_sequence("a", 20, features=features))
    with pytest.raises(ValueError, match="on data of the same frame encoder") as error:
        measure_checkpoints(checkpoints[:1], data_root=str(tmp_path))
    assert (
        f"{tmp_path}/open_3d/test has features of width 17, {checkpoints[0]} was trained on 16"
        in (str(error.value))
    )


def test_features_of_another_frame_encoder(
    checkpoints: list[str], test_split: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(checkpoints[0], other)
    (other / "manifest.json").write_text('{"encoder_id": "resnet"}')
    with pytest.raises(ValueError, match="on data of the same one") as error:
        measure_checkpoints([str(other)], data_root=str(test_split))
    assert f"frame encoder 'noise', {other} was trained on those of 'resnet'" in str(error.value)


def test_nan_in_features(checkpoints: list[str], tmp_path: Path) -> None:
    features = np.full((20, F), np.nan, np.float16)
    with ShardWriter(str(tmp_path / "open_3d/test"), noise.header("open_3d/test")) as writer:
        writer.write(noise.pose_sequence("a", 20, features=features))
    with pytest.raises(FloatingPointError, match=r"'a'.*prepare validate"):
        measure_checkpoints(checkpoints[:1], data_root=str(tmp_path))


@pytest.fixture
def wide(test_split: Path, tmp_path: Path) -> Path:
    """The same test split with key-points beside its features."""
    source = str(test_split / "open_3d/test")
    known = {"encoder_id": read_manifest(source).encoder_id + MARK, "feature_dim": F + NUM_INPUTS}
    made = np.random.default_rng(0)
    with ShardWriter(
        str(tmp_path / "wide/open_3d/test"), noise.header("open_3d/test", **known)
    ) as w:
        for one in read_pose_sequences(source):
            seen = made.random((one.num_frames, NUM_INPUTS)).astype(np.float16)
            features = np.concatenate([one.features, seen], axis=1)
            w.write(replace(one, features=features, encoder_id=known["encoder_id"]))
    return tmp_path / "wide"


def test_who_looks_at_key_points_is_measured_beside_a_baseline_that_does_not(
    checkpoints: list[str], test_split: Path, wide: Path, tmp_path: Path
) -> None:
    state = tiny_state(tiny(generator__keypoint_dim=4, generator__feedback=True))
    for step in range(2):
        state.update(with_keypoints(random_batch(2, 3, 4, seed=step)))
    looking = tmp_path / "looking"
    looking.mkdir()
    state.snapshot({"encoder_id": "noise" + MARK}).write(looking)
    found = measure_checkpoints([str(looking)], checkpoints[0], str(wide)).to_dict()
    assert found["vibe"] == pytest.approx(expected(str(looking), wide).metrics, rel=1e-3)
    plain = measure_checkpoints(checkpoints[:1], data_root=str(test_split)).to_dict()
    assert found["frame_baseline"] == pytest.approx(plain["vibe"], rel=1e-6)
    with pytest.raises(ValueError, match=r"test has .*no key-points beside them.* prepare it with"):
        measure_checkpoints([str(looking)], data_root=str(test_split))
