"""Against loops and closed forms."""

import numpy as np
import pytest

from tests.video.made_up_people import figure, seen
from vibe_ray.video.similarity import (
    box_iou,
    keypoint_similarity,
    person_similarity,
    without_duplicates,
)


def test_overlap_is_counted_like_pixels() -> None:
    boxes = np.array([[0, 0, 4, 6], [2, 1, 9, 5], [7, 7, 9, 9], [3, 3, 3, 3]])
    grid = np.zeros((4, 10, 10), bool)
    for i, (left, top, right, bottom) in enumerate(boxes):
        grid[i, top:bottom, left:right] = True
    for i in range(3):
        for j in range(4):
            union = (grid[i] | grid[j]).sum()
            expected = (grid[i] & grid[j]).sum() / union
            assert box_iou(boxes, boxes)[i, j] == pytest.approx(expected)


def test_key_points_weigh_by_what_both_are_sure_of() -> None:
    a = np.array([[[0.0, 0.0], [10.0, 0.0], [0.0, 99.0]]])
    b = np.array([[[3.0, 4.0], [10.0, 0.0], [500.0, 0.0]]])
    a_conf, b_conf = np.array([[0.5, 0.8, 0.0]]), np.array([[0.5, 0.2, 0.9]])
    near = np.exp(-25 / (2 * 10**2))
    expected = (0.5 * near + 0.4 * 1) / 0.9
    found = keypoint_similarity(a, a_conf, b, b_conf, np.array([10.0]))
    assert found[0, 0] == pytest.approx(expected)


def test_a_person_is_most_like_themselves() -> None:
    people = seen(0, [figure(50), figure(90), figure(200)])
    similarity = person_similarity(people, people, np.full(3, 12.0))
    np.testing.assert_allclose(np.diag(similarity), 1)
    assert similarity[0, 1] < 0.5
    assert similarity[0, 2] == pytest.approx(0, abs=1e-6)


def test_of_a_person_seen_twice_the_clearer_stays() -> None:
    people = seen(
        0, [figure(50), figure(51), figure(70), figure(50, size=40)], [0.4, 0.7, 0.3, 0.5]
    )
    kept = without_duplicates(people)
    assert kept.scores.tolist() == [0.7, 0.5, 0.3]
    assert len(without_duplicates(seen(0, [])).scores) == 0
