"""Protocols: their tables, and those of single data sets against loops through whole meshes."""

import numpy as np
import pytest
import torch

from tests.evaluation.test_evaluator import T, assert_metrics, naive_align
from tests.evaluation.toy_sequences import MakeSequence, Noise
from vibe_ray.body.mesh import BodyModel
from vibe_ray.body.model import BodyArrays
from vibe_ray.body.params import pose_to_rotmat
from vibe_ray.body.skeletons import H36M_17, KEYPOINTS
from vibe_ray.data.schema import PoseSequence
from vibe_ray.evaluation.evaluator import evaluate
from vibe_ray.evaluation.protocols import BETTER, METRICS, PROTOCOLS, TITLES, Protocol

MPI = (
    *("headtop", "neck", "rshoulder", "relbow", "rwrist", "lshoulder", "lelbow", "lwrist"),
    *("rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "hip", "Spine (H36M)", "Head (H36M)"),
)
LSP = (
    *("rankle", "rknee", "rhip", "lhip", "lknee", "lankle", "rwrist", "relbow", "rshoulder"),
    *("lshoulder", "lelbow", "lwrist", "neck", "headtop"),
)
FRONTAL = "S9/Walking 1.60457274"
Array = np.ndarray


def test_each_metric_has_a_title_and_a_direction() -> None:
    assert set(TITLES) == set(BETTER) == set(METRICS)


def test_protocols_go_by_their_names() -> None:
    assert all(name == protocol.name for name, protocol in PROTOCOLS.items())
    assert PROTOCOLS["open"].needs_mesh
    assert not PROTOCOLS["joints"].needs_mesh


def test_unknown_metrics_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown metrics"):
        Protocol(name="x", description="", metrics=("mpjpe",))


def test_vibes_protocol_needs_windows() -> None:
    with pytest.raises(ValueError, match="windows only"):
        Protocol(name="x", description="", boundaries="vibe_compat", windowing="sequence")


def test_joints_are_those_of_the_regressor_and_are_centered_on_some_of_them() -> None:
    for protocol in PROTOCOLS.values():
        assert set(protocol.joints) | set(protocol.centered_on) <= set(H36M_17)
        assert set(protocol.differs) <= set(METRICS)
    assert len(PROTOCOLS["mpi_inf_3dhp"].joints) == 17
    assert len(PROTOCOLS["human36m_p2"].joints) == 14


def naive(body: BodyArrays, sequence: PoseSequence, names: tuple[str, ...]) -> dict[str, float]:
    """What SPIN measures, frame by frame: the mesh's H36M joints against the data set's own."""
    model = BodyModel(body, torch.float64)
    found: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    predicted, true = [], []
    for frame, kp_3d in zip(sequence.features, sequence.kp_3d, strict=True):
        theta = torch.tensor(frame, dtype=torch.float64)[None]
        mesh = model(theta[:, 72:82], pose_to_rotmat(theta[:, :72]))
        joints = body.J_regressor_h36m.astype(np.float64) @ mesh.verts[0].numpy()
        by_name = dict(zip(H36M_17, joints, strict=True))
        predicted.append(np.array([by_name[name] - by_name["hip"] for name in names]))
        own = {name: kp_3d[KEYPOINTS.index(name)].astype(np.float64) for name in (*names, "hip")}
        true.append(np.array([own[name] - own["hip"] for name in names]))
    for t in np.flatnonzero(sequence.valid & sequence.has_kp_3d):
        errors = 1000 * np.linalg.norm(predicted[t] - true[t], axis=1)
        add("mpjpe_mm", errors.mean())
        aligned = naive_align(predicted[t], true[t])
        add("pa_mpjpe_mm", 1000 * np.linalg.norm(aligned - true[t], axis=1).mean())
        add("pck_150mm_percent", 100 * sum(error < 150 for error in errors) / len(errors))
        curve = [np.mean([error < threshold for error in errors]) for threshold in range(0, 151, 5)]
        assert len(curve) == 31
        add("auc_percent", 100 * np.mean(curve))
    return {name: float(np.mean(values)) for name, values in found.items()}


def own_joints(make: MakeSequence, num_frames: int, seed: int, **changes: object) -> PoseSequence:
    """A sequence with 3D joints of its own, which no body has exactly, and no parameters."""
    sequence = make(
        num_frames, seed=seed, noise=0.3, has_smpl=np.zeros(num_frames, bool), **changes
    )
    generator = np.random.default_rng(seed)
    sequence.kp_3d[:] += generator.normal(0, 0.06, sequence.kp_3d.shape)
    return sequence


def test_mpi_inf_3dhp_is_17_joints_of_valid_frames_centered_on_the_pelvis(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    valid = np.ones(17, bool)
    valid[[0, 5, 6, 16]] = False
    sequences = [
        own_joints(make_sequence, 17, 0, valid=valid),
        own_joints(make_sequence, 9, 1, sequence="TS6"),
    ]
    result = evaluate(network, sequences, body, PROTOCOLS["mpi_inf_3dhp"], T)
    assert (result.truth, result.num_frames) == ("kp_3d", 13 + 9)
    for item, sequence in zip(result.per_sequence, sequences, strict=True):
        expected = naive(body, sequence, MPI)
        assert_metrics(item.metrics, expected)
        assert 20 < expected["pck_150mm_percent"] < 99, "a number that says something"
    parts = [naive(body, sequence, MPI) for sequence in sequences]
    whole = {name: (13 * parts[0][name] + 9 * parts[1][name]) / 22 for name in parts[0]}
    assert_metrics(result.metrics, whole)
    assert "pve_mm" not in result.metrics
    by_key_points = evaluate(network, sequences, body, PROTOCOLS["open"], T)
    assert abs(by_key_points.metrics["mpjpe_mm"] - result.metrics["mpjpe_mm"]) > 1


def test_human36m_protocol_2_is_14_joints_before_the_frontal_camera(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    frontal = own_joints(make_sequence, 12, 0, sequence=FRONTAL)
    others = [
        own_joints(make_sequence, 12, i, sequence=f"S9/Walking 1.{camera}")
        for i, camera in enumerate(("54138969", "55011271", "58860488"), 1)
    ]
    sequences = [others[0], frontal, *others[1:]]
    result = evaluate(network, sequences, body, PROTOCOLS["human36m_p2"], T)
    assert result.num_frames == 12
    assert [item.sequence for item in result.per_sequence] == [FRONTAL]
    expected = naive(body, frontal, LSP)
    assert_metrics(result.metrics, {name: expected[name] for name in ("mpjpe_mm", "pa_mpjpe_mm")})
    with pytest.raises(ValueError, match="sequences with 60457274 in their names"):
        evaluate(network, others, body, PROTOCOLS["human36m_p2"], T)


@pytest.mark.parametrize("protocol", ["mpi_inf_3dhp", "human36m_p2"])
def test_own_joints_are_the_truth_where_parameters_are_known_too(
    protocol: str, body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    """As Human3.6M's training subjects have both: what is measured must not hang on that."""
    bare = own_joints(make_sequence, 9, 0, sequence=FRONTAL)
    known = own_joints(make_sequence, 9, 0, sequence=FRONTAL)
    known.has_smpl[:] = True
    alone, both = (
        evaluate(network, [s], body, PROTOCOLS[protocol], T).metrics for s in (bare, known)
    )
    assert alone == both


def test_the_origin_of_the_truth_does_not_matter(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequence = own_joints(make_sequence, 9, 0)
    before = evaluate(network, [sequence], body, PROTOCOLS["mpi_inf_3dhp"], T).metrics
    sequence.kp_3d[:] -= sequence.kp_3d[
        :, [KEYPOINTS.index("hip")]
    ]  # as preprocessing may leave it
    after = evaluate(network, [sequence], body, PROTOCOLS["mpi_inf_3dhp"], T).metrics
    assert after == pytest.approx(before, rel=1e-4)


def test_joints_that_the_data_set_does_not_have_are_no_zeros_to_be_measured(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequence = own_joints(make_sequence, 9, 0)
    sequence.kp_3d[:, KEYPOINTS.index("Spine (H36M)")] = 0
    with pytest.raises(ValueError, match=r"'walk_0' of 'toy' has no 3D joint 'Spine \(H36M\)'"):
        evaluate(network, [sequence], body, PROTOCOLS["mpi_inf_3dhp"], T)
    evaluate(network, [sequence], body, PROTOCOLS["open"], T)
