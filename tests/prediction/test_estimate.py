from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.prediction.filmed import FOCAL, HEIGHT, WIDTH, walk
from vibe_ray.body.params import SmplParams, pose_to_rotmat
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.evaluation.metrics import pa_mpjpe_mm
from vibe_ray.features.encoding import encode
from vibe_ray.features.frame_encoder import FrameEncoder
from vibe_ray.features.keypoint_encoder import labels_inputs, mirrored_labels
from vibe_ray.features.with_keypoints import MARK
from vibe_ray.geometry.arrays import Array
from vibe_ray.models.generator import Generator
from vibe_ray.prediction.estimate import (
    Estimator,
    average,
    mirrored_params,
    place,
)
from vibe_ray.prediction.person import Person
from vibe_ray.runs.checkpoints import find_checkpoint
from vibe_ray.runs.integrity import opened
from vibe_ray.runs.snapshots import GENERATOR_FILE, load_weights, save_networks
from vibe_ray.settings import override
from vibe_ray.video.labels import label_track
from vibe_ray.video.people import Track


@pytest.fixture(scope="module")
def estimator() -> Estimator:
    return Estimator.load()


def projected(person: Person, estimator: Estimator) -> Array:
    """COCO's key-points of an estimate in the picture (N, 17, 2)."""
    N = person.num_frames
    betas = torch.from_numpy(person.betas).expand(N, -1)
    points = estimator.keypoints(betas, torch.from_numpy(person.rotmat)).numpy()
    points = points[:, indices(COCO_17, KEYPOINTS)] + person.transl[:, None]
    return points[..., :2] / points[..., 2:] * FOCAL + [WIDTH / 2, HEIGHT / 2]


def test_the_body_lies_on_the_picture_and_is_nearly_the_true_one(estimator: Estimator) -> None:
    filmed = walk()
    person = estimator.estimate(filmed.track, filmed.facts)
    missed = np.linalg.norm(projected(person, estimator) - filmed.kp_2d, axis=-1)
    assert missed.mean() < 0.03 * filmed.track.boxes[:, 2].mean()
    assert person.rotmat.shape == (24, 24, 3, 3)
    assert person.betas.shape == (10,)
    betas = torch.from_numpy(person.betas).expand(24, -1)
    points = estimator.keypoints(betas, torch.from_numpy(person.rotmat))
    limbs = [i for i in indices(COCO_17, KEYPOINTS) if KEYPOINTS[i][1:] != "eye"][1:]
    true = torch.from_numpy(filmed.kp_3d[:, [COCO_17.index(KEYPOINTS[i]) for i in limbs]])
    assert float(pa_mpjpe_mm(points[:, limbs], true.float()).mean()) < 80
    off = np.abs(person.transl - filmed.transl).max(axis=0)
    assert (off < [0.05, 0.05, 0.45]).all()  # depth is read off a size


def test_a_mirrored_person_is_the_mirror_image_of_the_person(estimator: Estimator) -> None:
    """With both sides looked at, which of them is called left cannot matter."""
    filmed = walk()
    one = estimator.estimate(filmed.track, filmed.facts)
    labels = mirrored_labels(label_track(filmed.track, filmed.facts, dataset="d", sequence="s"))
    track = replace(
        filmed.track,
        names=labels.names.detected,
        kp_2d=labels.detected,
        kp_2d_conf=labels.detected_conf,
        boxes=labels.box,
    )
    other = estimator.estimate(track, filmed.facts)
    params = SmplParams(*(torch.from_numpy(x) for x in (other.rotmat, other.betas, other.cam)))
    back = mirrored_params(params)
    torch.testing.assert_close(back.rotmat, torch.from_numpy(one.rotmat), atol=2e-3, rtol=0)
    torch.testing.assert_close(back.cam, torch.from_numpy(one.cam), atol=2e-3, rtol=0)
    np.testing.assert_allclose(other.betas, one.betas, atol=2e-3)


def test_a_track_in_one_pass_is_what_the_predictor_says(estimator: Estimator) -> None:
    filmed = walk()
    person = estimator.estimate(filmed.track, filmed.facts, flip=False)
    sequence = encode(label_track(filmed.track, filmed.facts, dataset="d", sequence="s"),
                      estimator.encoder)  # fmt: skip
    params = estimator.predictor.predict(torch.from_numpy(sequence.features), "sequence")
    np.testing.assert_array_equal(person.rotmat, params.rotmat.numpy())
    assert (np.sort(params.betas.numpy(), axis=0)[11] == person.betas).all()  # of 24 frames


def test_who_looks_at_key_points_is_given_those_of_the_track(tmp_path: Path) -> None:
    """The network with new weights: an answer as the labels, encoded, give it."""
    plain = Estimator.load()
    looking = override(
        plain.predictor.config, {"generator.keypoint_dim": 4, "generator.feedback": True}
    )
    generator = Generator(looking.generator, plain.predictor.body)
    with opened(find_checkpoint("open")) as directory:
        generator.load_state_dict(load_weights(directory, GENERATOR_FILE), strict=False)
    assert generator.feedback is not None
    torch.nn.init.normal_(generator.feedback.weight, std=0.1)
    networks = {GENERATOR_FILE: generator.state_dict()}
    save_networks(tmp_path, looking, networks, {"encoder_id": plain.encoder.id + MARK})
    estimator, filmed = Estimator.load(str(tmp_path)), walk()
    assert estimator.encoder.id == plain.encoder.id + MARK
    person = estimator.estimate(filmed.track, filmed.facts, flip=False)
    labels = label_track(filmed.track, filmed.facts, dataset="d", sequence="s")
    features = torch.cat([plain.encoder.encode(labels), labels_inputs(labels)], dim=-1).half()
    expected = generator.eval()(features.float()[None]).rotmat[0].detach()
    np.testing.assert_allclose(person.rotmat, expected.numpy(), atol=1e-4)
    other = plain.estimate(filmed.track, filmed.facts, flip=False)
    assert np.abs(other.rotmat - person.rotmat).max() > 0.01
    estimator.estimate(filmed.track, filmed.facts)  # in the mirror, too


def test_the_average_turns_half_way() -> None:
    angles = torch.tensor([[0.2, -0.4, 0.9]])
    pose = torch.zeros(1, 24, 3)
    pose[:, 5] = angles
    params = SmplParams(pose_to_rotmat(pose.flatten(1)), torch.ones(1, 10), torch.ones(1, 3))
    rest = SmplParams(pose_to_rotmat(torch.zeros(1, 72)), torch.zeros(1, 10), torch.zeros(1, 3))
    middle = average(params, rest)
    half = Rotation.from_rotvec(angles.numpy() / 2).as_matrix()
    np.testing.assert_allclose(middle.rotmat[:, 5], half, atol=1e-6)
    assert (middle.betas == 0.5).all()
    assert (middle.cam == 0.5).all()


class Looked(FrameEncoder):
    """An encoder of crops that says how often it has looked, and how."""

    kind = "looked"
    needs = "crops"

    def __init__(self) -> None:
        super().__init__(None)
        self.looks: list[bool] = []

    @property
    def feature_dim(self) -> int:
        return 2048

    def encode(self, labels: LabelledSequence, *, mirrored: bool = False) -> torch.Tensor:
        self.looks.append(mirrored)
        made = torch.Generator().manual_seed(int(mirrored))
        return torch.rand(labels.num_frames, 2048, generator=made)


def test_an_encoder_of_crops_looks_into_the_mirror_itself(estimator: Estimator) -> None:
    filmed, looked = walk(), Looked()
    by_crops = Estimator(estimator.predictor, looked)
    person = by_crops.estimate(filmed.track, filmed.facts)
    assert looked.looks == [False, True]
    labels = label_track(filmed.track, filmed.facts, dataset="d", sequence="s")
    straight, mirrored = (
        estimator.predictor.predict(looked.encode(labels, mirrored=m).half(), "sequence")
        for m in (False, True)
    )
    expected = average(straight, mirrored_params(mirrored))
    np.testing.assert_allclose(person.rotmat, expected.rotmat, atol=1e-6)
    looked.looks.clear()
    person = by_crops.estimate(filmed.track, filmed.facts, flip=False)
    assert looked.looks == [False]
    np.testing.assert_allclose(person.rotmat, straight.rotmat, atol=1e-6)


def true_points(names: tuple[str, ...]) -> torch.Tensor:
    filmed = walk()
    points = torch.zeros(24, len(KEYPOINTS), 3)
    at = torch.from_numpy(filmed.kp_3d - filmed.transl[:, None]).float()
    for name in names:
        for row in [i for i, known in enumerate(KEYPOINTS) if known == name]:
            points[:, row] = at[:, COCO_17.index(name)]
    return points


def test_a_known_body_is_put_where_it_stood() -> None:
    filmed = walk()
    cam = torch.ones(24, 3)
    found = place(filmed.track, filmed.facts, cam, [true_points(COCO_17)])
    np.testing.assert_allclose(found, filmed.transl, atol=2e-3)


def hidden(track: Track, frames: slice, keep: int) -> Track:
    conf = track.kp_2d_conf.copy()
    conf[frames, keep:] = 0
    return replace(track, kp_2d_conf=conf)


def test_frames_that_show_too_little_are_drawn_between_their_neighbors() -> None:
    filmed = walk()
    track = hidden(filmed.track, slice(5, 9), keep=3)
    found = place(track, filmed.facts, torch.ones(24, 3), [true_points(COCO_17)]).numpy()
    share = np.linspace(0, 1, 6)[:, None]
    np.testing.assert_allclose(found[4:10], found[4] + share * (found[9] - found[4]), atol=1e-5)
    np.testing.assert_allclose(found[[0, 20]], filmed.transl[[0, 20]], atol=2e-3)


def test_a_track_that_shows_too_little_takes_the_networks_camera() -> None:
    filmed = walk()
    track = hidden(filmed.track, slice(None), keep=3)
    cam = torch.tensor([[0.8, 0.1, -0.2]]).expand(24, -1)
    found = place(track, filmed.facts, cam, [true_points(COCO_17)]).numpy()
    side = filmed.track.boxes[:, 2]
    np.testing.assert_allclose(found[:, 2], 2 * FOCAL / (0.8 * side), rtol=1e-5)


def test_filled_frames_do_not_shape_the_body(estimator: Estimator) -> None:
    filmed = walk()
    track = replace(hidden(filmed.track, slice(10, 24), keep=0), filled=np.arange(24) >= 10)
    person = estimator.estimate(track, filmed.facts, flip=False)
    sequence = encode(label_track(track, filmed.facts, dataset="d", sequence="s"),
                      estimator.encoder)  # fmt: skip
    params = estimator.predictor.predict(torch.from_numpy(sequence.features), "sequence")
    np.testing.assert_array_equal(person.betas, params.betas[:10].median(dim=0).values)


def test_an_encoder_that_is_not_the_checkpoints_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vibe_ray.features.keypoint_encoder.KeypointEncoder.id", "keypoints-other")
    with pytest.raises(ValueError, match=r"trained on features of encoder keypoints-.*, open is"):
        Estimator.load()
