from dataclasses import replace

import pytest
import torch

from tests.fitting.motions import skeleton, squats
from tests.fitting.seen import observed
from vibe_ray.body.skeletons import COCO_17, KEYPOINTS, OPENPOSE_25
from vibe_ray.fitting.observation import reprojection


def test_a_motion_lies_on_what_it_was_seen_as() -> None:
    motion, seen = observed(squats())
    assert reprojection(motion, skeleton(), seen).max() < 1e-6


@pytest.mark.parametrize("names", [COCO_17, OPENPOSE_25])
def test_key_points_are_found_by_name_in_any_order(names: tuple[str, ...]) -> None:
    motion, seen = observed(squats(), names=tuple(reversed(names)))
    assert reprojection(motion, skeleton(), seen).max() < 1e-6
    known = [seen.names[row] for row in seen.known_rows]
    assert [KEYPOINTS[row] for row in seen.body_rows] == known
    assert set(known) == set(names) - {"OP Neck", "OP MidHip"}  # of others, by every detector


def test_a_distance_is_in_boxes_and_what_was_not_seen_is_nan() -> None:
    motion, seen = observed(squats())
    kp, conf = seen.kp_2d.clone(), seen.conf.clone()
    kp[:, 5, 0] += 10.0
    kp[:, 6] = torch.nan
    conf[:, 6] = 0.0
    conf[:, 7] = 0.1
    moved = replace(seen, kp_2d=kp, conf=conf, box_size=torch.full((90,), 200.0))
    found = reprojection(motion, skeleton(), moved)
    known = [moved.names[row] for row in moved.known_rows]
    row = known.index("lshoulder")
    torch.testing.assert_close(found[:, row], torch.full((90,), 0.05).double(), atol=1e-6, rtol=0)
    assert found[:, [known.index(name) for name in seen.names[6:8]]].isnan().all()
    assert found.isnan().sum() == 180


def test_what_does_not_fit_together_is_refused() -> None:
    motion, seen = observed(squats())
    with pytest.raises(ValueError, match="do not fit together"):
        replace(seen, names=seen.names[:3])
    with pytest.raises(ValueError, match="is a key-point of the body"):
        replace(seen, names=["tail"] * len(seen.names))
    few = {"rotmat": motion.rotmat[:5], "transl": motion.transl[:5], "times_s": motion.times_s[:5]}
    short = replace(motion, **few)
    with pytest.raises(ValueError, match="90 frames, motion of 5"):
        reprojection(short, skeleton(), seen)
