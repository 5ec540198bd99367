import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.data import noise
from vibe_ray.data.labels import LabelNames


def test_a_labelled_sequence_knows_its_place_in_the_video() -> None:
    labels = noise.labelled_sequence("walk", 5, 3, person="left")
    assert (labels.num_frames, labels.start_frame, labels.key) == (5, 300, ("walk", "left"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kp_2d": np.zeros((5, 17, 2))}, r"kp_2d has shape \(5, 17, 2\), expected \(5, 13, 2\)"),
        ({"detected_conf": np.zeros((5, 13))}, r"detected_conf has .*expected \(5, 17\)"),
        ({"names": LabelNames()}, r"kp_2d has shape \(5, 13, 2\), expected \(5, 0, 2\)"),
        ({"box": np.zeros((5, 4))}, r"box has shape \(5, 4\), expected \(5, 3\)"),
        ({"images": ("a.jpg",) * 5}, "frames are of a video or images, not of"),
        ({"video": "", "images": ("a.jpg",) * 4}, "4 images, 5 frames"),
        ({"width": 0}, "frames of 0 x 480 pixels"),
        ({"timestamps": np.array([0, 1, 2, 2, 3.0])}, "timestamps do not rise"),
    ],
)
def test_labels_that_contradict_themselves_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    known = noise.labelled_sequence("walk", 5)
    with pytest.raises(ValueError, match=f"walk: {message}"):
        dataclasses.replace(known, **changes)
