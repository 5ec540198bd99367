"""The evaluator against loops over frames with whole meshes, and against VIBE's concatenation."""

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from tests.data import noise as data_noise
from tests.evaluation.toy_sequences import MakeSequence, Noise
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COMMON_14, KEYPOINTS
from vibe_ray.data.schema import MAX_CLIP_FRAMES, PoseSequence
from vibe_ray.data.sequences import StoredSequence, read_pose_sequences, stored_pose_sequences
from vibe_ray.data.shards import ShardWriter
from vibe_ray.evaluation import evaluator as module
from vibe_ray.evaluation.evaluator import Evaluator, evaluate
from vibe_ray.evaluation.protocols import PROTOCOLS

T = 8
Array = np.ndarray


def naive_joints(body: BodyArrays, theta: Array) -> tuple[Array, Array]:
    """Centered evaluation joints (N, 14, 3) and vertices, frame by frame, through the mesh."""
    model = BodyModel(body, torch.float64)
    joints, verts = [], []
    for frame in torch.tensor(theta, dtype=torch.float64):
        mesh = model(frame[None, 72:82], pose_to_rotmat(frame[None, :72]))
        points = model.evaluation_joints(mesh)[0].numpy()
        hips = [COMMON_14.index("rhip"), COMMON_14.index("lhip")]
        joints.append(points - points[hips].mean(axis=0))
        verts.append(mesh.verts[0].numpy())
    return np.array(joints), np.array(verts)


def naive_align(source: Array, target: Array) -> Array:
    """Umeyama's similarity, for one frame."""
    a, b = source - source.mean(axis=0), target - target.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    z = np.diag([1, 1, np.sign(np.linalg.det(u @ vt))])
    return np.trace(np.diag(s) @ z) / (a**2).sum() * a @ (u @ z @ vt) + target.mean(axis=0)


def naive_metrics(body: BodyArrays, parts: list[tuple[Array, Array]]) -> dict[str, float]:
    """Metrics of (predicted, true) parameters (N, 85); accelerations stay within each part."""
    errors: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        errors.setdefault(name, []).append(1000 * value)

    for predicted, true in parts:
        (p, pv), (g, gv) = naive_joints(body, predicted), naive_joints(body, true)
        for t in range(len(p)):
            add("mpjpe_mm", np.linalg.norm(p[t] - g[t], axis=1).mean())
            aligned = naive_align(p[t], g[t])
            add("pa_mpjpe_mm", np.linalg.norm(aligned - g[t], axis=1).mean())
            add("pve_mm", np.linalg.norm(pv[t] - gv[t], axis=1).mean())
        for t in range(1, len(p) - 1):
            ap, ag = (x[t + 1] - 2 * x[t] + x[t - 1] for x in (p, g))
            add("accel_mm_per_frame2", np.linalg.norm(ap, axis=1).mean())
            add("true_accel_mm_per_frame2", np.linalg.norm(ag, axis=1).mean())
            add("accel_error_mm_per_frame2", np.linalg.norm(ap - ag, axis=1).mean())
    return {name: float(np.mean(values)) for name, values in errors.items()}


def pair(sequence: PoseSequence, frames: Any = slice(None)) -> tuple[Array, Array]:
    """What `Noise` predicts and what is true."""
    return (
        sequence.features[frames],
        np.concatenate([sequence.pose, sequence.betas], axis=1)[frames],
    )


def assert_metrics(found: dict[str, float], expected: dict[str, float]) -> None:
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("protocol", ["open", "sequence"])
def test_metrics_are_those_of_a_loop_over_frames(
    protocol: str, body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequences = [make_sequence(11), make_sequence(8, seed=1), make_sequence(3, seed=2)]
    result = evaluate(network, sequences, body, PROTOCOLS[protocol], T)
    assert_metrics(result.metrics, naive_metrics(body, [pair(s) for s in sequences]))
    assert result.num_frames == 22
    assert result.truth == "smpl"
    assert network.shapes[0] == ((1, 11, 85) if protocol == "sequence" else (2, T, 85))
    for item, sequence in zip(result.per_sequence, sequences, strict=True):
        assert item.num_frames == sequence.num_frames
        assert_metrics(item.metrics, naive_metrics(body, [pair(sequence)]))


def test_vibe_compat_is_the_concatenation_of_whole_windows(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    lengths = [11, 7, 16, 8, 25]  # the second is shorter than a window and vanishes
    sequences = [make_sequence(n, seed=i) for i, n in enumerate(lengths)]
    result = evaluate(network, sequences, body, PROTOCOLS["vibe_compat"], T)
    windows = []
    for sequence in sequences:
        for start in range(0, sequence.num_frames - T + 1, T):
            windows.append(pair(sequence, slice(start, start + T)))
    predicted, true = (np.concatenate(side) for side in zip(*windows, strict=True))
    assert result.num_frames == len(predicted) == 56
    assert_metrics(result.metrics, naive_metrics(body, [(predicted, true)]))
    inside = evaluate(network, sequences, body, PROTOCOLS["open"], T)
    accel = "true_accel_mm_per_frame2"
    assert result.metrics[accel] > 1.2 * inside.metrics[accel]  # the seams are in there


def test_vibe_compat_closes_over_frames_that_are_not_valid(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    valid = np.ones(20, bool)
    valid[[4, 5, 13]] = False
    sequences = [make_sequence(20, valid=valid), make_sequence(9, seed=1)]
    result = evaluate(network, sequences, body, PROTOCOLS["vibe_compat"], T)
    parts = [pair(sequences[0], np.flatnonzero(valid)[:16]), pair(sequences[1], slice(0, 8))]
    predicted, true = (np.concatenate(side) for side in zip(*parts, strict=True))
    assert_metrics(result.metrics, naive_metrics(body, [(predicted, true)]))


def test_seams_reach_over_sequences_of_one_frame(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequences = [make_sequence(n, seed=i) for i, n in enumerate([1, 1, 2, 1, 3])]
    result = evaluate(network, sequences, body, PROTOCOLS["vibe_compat"], 1)
    sides = zip(*(pair(sequence) for sequence in sequences), strict=True)
    predicted, true = (np.concatenate(side) for side in sides)
    assert_metrics(result.metrics, naive_metrics(body, [(predicted, true)]))


@pytest.mark.parametrize("mask", ["valid", "has_smpl"])
def test_frames_that_do_not_count_are_left_out(
    mask: str, body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    usable = np.ones(20, bool)
    usable[[0, 7, 8, 13]] = False
    sequence = make_sequence(20)
    pose = np.where(usable[:, None], sequence.pose, np.nan).astype(np.float32)
    masked = make_sequence(20, pose=pose, **{mask: usable})
    result = evaluate(network, [masked], body, PROTOCOLS["open"], T)
    runs = [slice(1, 7), slice(9, 13), slice(14, 20)]  # no acceleration leaves its run
    assert_metrics(result.metrics, naive_metrics(body, [pair(sequence, run) for run in runs]))
    assert result.num_frames == 16


def test_a_perfect_prediction_has_no_error(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    result = evaluate(network, [make_sequence(20, noise=0.0)], body, PROTOCOLS["open"], T)
    for name in ("mpjpe_mm", "pa_mpjpe_mm", "pve_mm", "accel_error_mm_per_frame2"):
        assert result.metrics[name] < 0.01
    assert result.metrics["pck_150mm_percent"] == 100.0
    assert result.metrics["accel_mm_per_frame2"] == pytest.approx(
        result.metrics["true_accel_mm_per_frame2"], rel=1e-3
    )


def test_without_smpl_truth_the_common_14_of_the_49_are_compared(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequence = make_sequence(12, has_smpl=np.zeros(12, bool))
    result = evaluate(network, [sequence], body, PROTOCOLS["open"], T)
    model = BodyModel(body)
    params = network(torch.tensor(sequence.features))
    mesh = model(params.betas, params.rotmat)
    names = [KEYPOINTS.index(name) for name in COMMON_14]
    hips = [KEYPOINTS.index("rhip"), KEYPOINTS.index("lhip")]
    p, g = model.keypoints(mesh).numpy(), sequence.kp_3d
    p, g = (x[:, names] - x[:, hips].mean(axis=1, keepdims=True) for x in (p, g))
    expected = 1000 * np.linalg.norm(p - g, axis=-1).mean()
    assert result.truth == "kp_3d"
    assert result.metrics["mpjpe_mm"] == pytest.approx(expected, rel=1e-4)
    assert "pve_mm" not in result.metrics


def test_protocol_joints_builds_no_mesh(
    body: BodyArrays,
    make_sequence: MakeSequence,
    network: Noise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BodyModel, "forward", None)
    result = evaluate(network, [make_sequence(9)], body, PROTOCOLS["joints"], T)
    assert "pve_mm" not in result.metrics
    assert result.metrics["mpjpe_mm"] > 0


def test_a_sequence_without_truth_counts_for_nothing(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    blind = make_sequence(9, has_smpl=np.zeros(9, bool), has_kp_3d=np.zeros(9, bool))
    alone = evaluate(network, [make_sequence(9)], body, PROTOCOLS["joints"], T)
    both = evaluate(network, [blind, make_sequence(9)], body, PROTOCOLS["joints"], T)
    assert alone == both
    with pytest.raises(ValueError, match="none of 1 sequences"):
        evaluate(network, [blind], body, PROTOCOLS["joints"], T)


def test_a_prediction_that_is_not_finite_names_its_sequence(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequence = make_sequence(9)
    sequence.features[3] = np.nan
    with pytest.raises(FloatingPointError, match="'walk_0' of 'toy' is not finite"):
        evaluate(network, [sequence], body, PROTOCOLS["joints"], T)


def test_an_empty_window_is_refused(body: BodyArrays) -> None:
    with pytest.raises(ValueError, match="window_length is 0"):
        Evaluator(body, PROTOCOLS["open"], 0)


@pytest.mark.parametrize("protocol", ["open", "joints", "vibe_compat", "mpi_inf_3dhp"])
def test_a_sequence_left_in_storage_scores_as_one_in_memory(
    body: BodyArrays, tmp_path: Path, protocol: str
) -> None:
    with ShardWriter(str(tmp_path), data_noise.header("open_3d/test")) as writer:
        writer.write(data_noise.pose_sequence("long", 3 * MAX_CLIP_FRAMES - 5))
    (stored,) = stored_pose_sequences(str(tmp_path))
    assert isinstance(stored, StoredSequence)
    found, expected = (
        evaluate(predict_noise, [sequence], body, PROTOCOLS[protocol], 16)
        for sequence in (stored, *read_pose_sequences(str(tmp_path)))
    )
    assert found == expected
    assert found.num_frames > 500


def predict_noise(features: Tensor) -> SmplParams:
    """Make parameters of features, by an arbitrary rule."""
    pose = features.float().repeat(1, 1, 5)[..., :72]
    betas, cam = features[..., :10].float(), features[..., :3].float()
    return SmplParams(pose_to_rotmat(pose), betas, cam)


def test_memory_does_not_grow_with_the_data(
    body: BodyArrays,
    make_sequence: MakeSequence,
    network: Noise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []
    forward = BodyModel.forward

    def watched(self: BodyModel, betas: Tensor, rotmat: Tensor) -> Any:
        sizes.append(len(betas))
        return forward(self, betas, rotmat)

    monkeypatch.setattr(BodyModel, "forward", watched)
    monkeypatch.setattr(module, "MESH_CHUNK", 16)
    kept = []
    for num_frames in (40, 90):
        evaluator = Evaluator(body, PROTOCOLS["open"], T)
        evaluator.add(network, make_sequence(num_frames))
        kept.append(len(pickle.dumps(evaluator.scores)))
    assert max(sizes) == 16
    assert sum(sizes) == 2 * (40 + 90)
    assert abs(kept[0] - kept[1]) < 100 < max(kept) < 10_000


def _evaluate_share(
    rank: int, store: str, body: BodyArrays, sequences: list[PoseSequence], out: str
) -> None:
    torch.set_num_threads(1)  # the parent's pool of threads did not come along with the fork
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    evaluator = Evaluator(body, PROTOCOLS["vibe_compat"], T)
    for sequence in sequences[rank::2]:
        evaluator.add(Noise(), sequence)
    evaluator.all_reduce()
    Path(f"{out}{rank}").write_bytes(pickle.dumps(evaluator.result()))
    dist.destroy_process_group()
    os._exit(0)  # a forked child must not run the parent's exit handlers


def test_two_ranks_give_the_result_of_one(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise, tmp_path: Path
) -> None:
    sequences = [make_sequence(n, seed=i) for i, n in enumerate([9, 17, 8])]
    arguments = (str(tmp_path / "store"), body, sequences, str(tmp_path / "result"))
    mp.start_processes(_evaluate_share, arguments, nprocs=2, start_method="fork")
    alone = evaluate(network, sequences, body, PROTOCOLS["vibe_compat"], T)
    for rank in range(2):
        result = pickle.loads((tmp_path / f"result{rank}").read_bytes())
        assert result == alone
