"""Shapes, picking, bounds."""

import numpy as np
import pytest

from tests.video.made_up_people import figure, seen
from vibe_ray.video.people import FramePeople, boxes_of_keypoints


def test_a_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"frame 3: scores has shape \(1,\), expected \(2,\)"):
        FramePeople(
            frame=3,
            boxes=np.zeros((2, 4)),
            scores=np.zeros(1),
            kp_2d=np.zeros((2, 17, 2)),
            kp_2d_conf=np.zeros((2, 17)),
        )


def test_people_are_picked_with_all_that_is_theirs() -> None:
    people = seen(0, [figure(10), figure(20), figure(30)], [0.1, 0.2, 0.3])
    picked = people.pick(np.array([True, False, True]))
    assert picked.scores.tolist() == [0.1, 0.3]
    np.testing.assert_array_equal(picked.kp_2d, people.kp_2d[[0, 2]])
    assert len(people.pick([]).scores) == 0


def test_bounds_are_of_what_is_seen() -> None:
    kp = np.array([[[0.0, 0.0], [2.0, 5.0], [4.0, 3.0]]] * 2)
    conf = np.array([[0.0, 0.9, 0.9], [0.0, 0.1, 0.0]])
    assert boxes_of_keypoints(kp, conf, 0.2).tolist() == [[2, 3, 4, 5], [0, 0, 0, 0]]
