import dataclasses
import importlib.util
from collections.abc import Callable

import numpy as np
import pytest
import torch

from vibe_ray.data.schema import MotionSequence
from vibe_ray.data.sources import gather_motion
from vibe_ray.data.synthetic.captures import CapturedBody
from vibe_ray.data.synthetic.dataset import OpenCapturesConfig, Split, captures, split_motion

CONFIG = OpenCapturesConfig(
    test_clips=("*test",),
    validation_clips=("*val", "*_either"),
    unseen_clips=("*unseen", "*_either"),
    captures_2d=1,
    captures_3d=2,
    captures_heldout=3,
    max_frames=40,
)


MakeMotion = Callable[..., MotionSequence]


@pytest.fixture
def motion(made_up_motion: MakeMotion) -> list[MotionSequence]:
    names = ("a", "b", "c_val", "d_test")
    return [made_up_motion(name, 70, seed) for seed, name in enumerate(names)]


def names_of(splits: dict[Split, list[MotionSequence]]) -> dict[Split, list[str]]:
    return {split: [clip.name for clip in part] for split, part in splits.items()}


def test_clips_are_dealt_by_name_whatever_their_order(
    motion: list[MotionSequence], made_up_motion: MakeMotion
) -> None:
    expected = {"train": ["a", "b"], "val": ["c_val"], "test": ["d_test"], "unseen": []}
    for clips in (motion, motion[::-1]):
        assert names_of(split_motion(clips, CONFIG)) == expected
    more = [made_up_motion(name, 70) for name in ("e_unseen", "f_either")]
    expected["unseen"] = ["e_unseen", "f_either"]
    assert names_of(split_motion([*motion, *more], CONFIG)) == expected


def test_default_patterns_hold_out_who_is_in_the_test_and_whole_kinds(
    made_up_motion: MakeMotion,
) -> None:
    held_out: dict[Split, list[str]] = {
        "test": ["01/01_01", "bvh/salsa/05", "cmu/03/03_01_part00", "martial/10_part01"],
        "val": ["01_14", "60/60_01", "94__94_16", "a/135_02", "bvh/salsa/03_part00", "indian/06"],
        "unseen": ["05/05_02_part00", "a/49__49_01", "b/131_03"],
    }
    # Names that only look like one of those.
    train = ["01/01_03_part00", "105/105_01", "a/149_01", "s_005_05", "x__160_01"]
    names = [name for part in held_out.values() for name in part] + train
    splits = split_motion([made_up_motion(n, 20) for n in names], OpenCapturesConfig())
    assert names_of(splits) == {"train": train, **held_out}


def test_bare_names_are_held_out_and_names_that_end_in_those_numbers_are_not(
    made_up_motion: MakeMotion,
) -> None:
    expected: dict[Split, list[str]] = {
        "train": ["101/101_14", "101_01", "102__103_03", "103_02", "160_01", "a/201_01"],
        "val": ["01_14", "135_02_part01", "60_01", "94_16"],
        "test": ["01_01", "03_02", "humanoid3d_walk"],
        "unseen": ["05_02", "131_03", "49_01_part00"],
    }
    names = [name for part in expected.values() for name in part]
    splits = split_motion([made_up_motion(n, 20) for n in names], OpenCapturesConfig())
    assert names_of(splits) == expected


def test_of_the_motion_that_comes_with_packages_the_split_is_what_weights_were_trained_on() -> None:
    if importlib.util.find_spec("pybullet_data") is None:
        pytest.skip("pybullet is not installed")
    splits = names_of(split_motion(gather_motion(()), OpenCapturesConfig()))
    clips = {name.rpartition("/")[2] for name in splits["test"]}
    assert clips == {"01_01", *(f"humanoid3d_{x}" for x in ("dance_b", "getup_faceup", "walk"))}
    clips = {name.rpartition("/")[2] for name in splits["val"]}
    assert clips == {"humanoid3d_dance_a", "humanoid3d_kick"}
    assert splits["unseen"] == []
    assert {f"01/01_03_part0{number}" for number in range(7)} < set(splits["train"])


def test_an_empty_split_is_an_error(motion: list[MotionSequence]) -> None:
    with pytest.raises(ValueError, match="no motion clip among 3 for test"):
        split_motion(motion[:3], CONFIG)


def test_equal_names_are_an_error(motion: list[MotionSequence], made_up_motion: MakeMotion) -> None:
    with pytest.raises(ValueError, match="several motion clips are called 'a'"):
        split_motion([*motion, made_up_motion("a", 20)], CONFIG)


@pytest.mark.parametrize(
    ("stream", "count"), [("open_2d/train", 1), ("open_3d/train", 2), ("open_3d/test", 3)]
)
def test_every_piece_is_captured_so_many_times(
    motion: list[MotionSequence], captured_body: CapturedBody, stream: str, count: int
) -> None:
    clips = split_motion(motion, CONFIG)["test"]
    found = list(captures(clips, stream, CONFIG, captured_body))
    assert len(found) == 2 * count  # 70 frames are cut in two
    assert len({clip.name for clip in found}) == len(found)
    if stream == "open_3d/test":
        assert {clip.capture().box.shape[1] for clip in found} == {35}


def test_training_captures_vary_the_motion_and_others_do_not(
    motion: list[MotionSequence], captured_body: CapturedBody
) -> None:
    clips = motion[:1]
    train = [c.capture() for c in captures(clips, "open_3d/train", CONFIG, captured_body)]
    assert len({c.box.shape[1] for c in train}) > 1  # of different speed
    held_out = next(captures(clips, "open_3d/val", CONFIG, captured_body)).capture()
    body_pose = held_out.pose[0, :, 3:].numpy()
    np.testing.assert_allclose(body_pose, clips[0].pose[:35, 3:], atol=1e-5)


@pytest.mark.parametrize(
    ("stream", "config"),
    [
        ("open_3d/train", dataclasses.replace(CONFIG, mix_arms=0.0, mix_legs=0.0)),
        ("open_3d/test", CONFIG),
    ],
)
def test_captures_without_mixed_limbs_do_not_depend_on_the_other_clips(
    motion: list[MotionSequence],
    captured_body: CapturedBody,
    stream: str,
    config: OpenCapturesConfig,
) -> None:
    alone = list(captures(motion[1:2], stream, config, captured_body))
    among = list(captures(motion, stream, config, captured_body))
    same = [clip for clip in among if clip.name.startswith("b@")]
    for one, other in zip(alone, same, strict=True):
        assert one.name == other.name
        ours, theirs = one.capture(), other.capture()
        assert torch.equal(ours.kp_2d, theirs.kp_2d)
        assert torch.equal(ours.detected, theirs.detected)


def test_captures_change_with_the_seed_and_the_stream(
    motion: list[MotionSequence], captured_body: CapturedBody
) -> None:
    clips = motion[:1]
    seeded = dataclasses.replace(CONFIG, seed=1)
    runs = [
        next(captures(clips, stream, config, captured_body)).capture().betas
        for stream, config in (
            ("open_3d/train", CONFIG),
            ("open_3d/train", seeded),
            ("open_2d/train", CONFIG),
        )
    ]
    assert not torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
