"""A track as labels, and on through an encoder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.video.made_up_people import figure, seen
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, indices
from vibe_ray.data.targets import pose_targets
from vibe_ray.features.keypoint_encoder import KeypointEncoder, KeypointEncoderConfig
from vibe_ray.video.frames import Focal, VideoFacts
from vibe_ray.video.labels import label_track
from vibe_ray.video.people import Track
from vibe_ray.video.tracking import fill, link

FACTS = VideoFacts(
    path="s3://bucket/clip.mp4",
    width=640,
    height=480,
    fps=25.0,
    num_frames=30,
    duration_s=1.2,
    codec="h264",
    focal=Focal(pixels=700.0, source="given in pixels"),
)
MISSED = {12, 13}


@pytest.fixture
def track() -> Track:
    """A person who comes in frame 5 and is missed twice."""
    stamps = np.cumsum(np.random.default_rng(0).uniform(0.03, 0.05, 30))
    people = [
        seen(i, [] if i < 5 or i in MISSED else [figure(200 + 3 * i, 240, 160)]) for i in range(30)
    ]
    return fill(link(people, stamps)[0], 4, COCO_17, stamps)


def test_labels_say_what_was_seen_when_and_where(track: Track) -> None:
    labels = label_track(track, FACTS, dataset="mine", sequence="clip")
    assert labels.key == ("clip", "4")
    assert (labels.video, labels.images, labels.fps) == ("s3://bucket/clip.mp4", (), 25.0)
    assert labels.frame_index.tolist() == list(range(5, 30))
    np.testing.assert_array_equal(labels.timestamps, track.times_s)
    assert set(labels.frame_index[~labels.valid]) == MISSED
    assert (labels.detected_conf[~labels.valid] == 0).all()
    assert (labels.box[:, 2] > 0).all()
    assert labels.camera[0].tolist() == [700, 700, 320, 240]
    assert labels.has_camera.all()
    assert not labels.has_smpl.any()


def test_an_assumed_camera_is_not_known(track: Track) -> None:
    facts = replace(FACTS, focal=replace(FACTS.focal, is_assumed=True))
    labels = label_track(track, facts, dataset="mine", sequence="clip")
    assert not labels.has_camera.any()


def test_pictures_of_a_folder_are_named_one_by_one(track: Track) -> None:
    images = tuple(f"clip/{i:03d}.jpg" for i in range(30))
    labels = label_track(track, replace(FACTS, images=images), dataset="mine", sequence="clip")
    assert labels.video == ""
    assert labels.images == images[5:]


def test_targets_are_the_track_s_key_points_in_the_box(track: Track) -> None:
    labels = label_track(track, FACTS, dataset="mine", sequence="clip")
    targets = pose_targets(labels)
    at = indices(COCO_17, KEYPOINTS)
    center, half = track.boxes[:, None, :2], track.boxes[:, None, 2:] / 2
    shown = labels.valid
    expected = (track.kp_2d - center) / half
    np.testing.assert_allclose(targets["kp_2d"][shown][:, at], expected[shown], atol=1e-4)
    np.testing.assert_allclose(targets["kp_2d_conf"][:, at], track.kp_2d_conf)


def test_an_encoder_takes_them(track: Track) -> None:
    torch.manual_seed(0)
    config = KeypointEncoderConfig(feature_dim=32, hidden_dim=16, num_blocks=1)
    encoder = KeypointEncoder(config).eval()
    features = encoder.encode(label_track(track, FACTS, dataset="mine", sequence="clip"))
    assert features.shape == (25, 32)
    assert torch.isfinite(features).all()
