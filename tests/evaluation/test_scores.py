import json

import pytest
import torch

from vibe_ray.evaluation.protocols import PROTOCOLS
from vibe_ray.evaluation.scores import Motion, SequenceScore, Sums, TrackScore, combine


def test_means_do_not_depend_on_how_values_are_dealt() -> None:
    values = torch.rand(10)
    one, first, second = Sums(), Sums(), Sums()
    one.add_values("mpjpe_mm", values)
    first.add_values("mpjpe_mm", values[:3])
    second.add_values("mpjpe_mm", values[3:])
    first.add_sums(second)
    assert first.means() == pytest.approx(one.means())
    assert one.means()["mpjpe_mm"] == pytest.approx(values.double().mean().item())


def test_a_metric_without_values_is_absent() -> None:
    sums = Sums()
    sums.add_values("pve_mm", torch.empty(0))
    assert sums.means() == {}


def test_two_frames_have_no_acceleration() -> None:
    track, joints = TrackScore(PROTOCOLS["open"]), torch.rand(2, 14, 3)
    track.add(Motion(joints, joints), torch.ones(2, dtype=torch.bool))
    assert "mpjpe_mm" in track.sums.means()
    assert "accel_error_mm_per_frame2" not in track.sums.means()


def test_an_acceleration_needs_its_three_frames() -> None:
    joints = torch.zeros(7, 14, 3)
    joints[3] = torch.nan  # what an unusable frame may hold
    usable = torch.tensor([1, 1, 1, 0, 1, 1, 1], dtype=torch.bool)
    track = TrackScore(PROTOCOLS["open"])
    track.add(Motion(joints, joints), usable)
    sums = track.sums
    assert sums.counts["mpjpe_mm"] == 6
    assert sums.counts["accel_error_mm_per_frame2"] == 2
    assert sums.means()["accel_error_mm_per_frame2"] == 0.0


@pytest.mark.parametrize("pieces", [[1] * 12, [2, 1, 9], [3, 4, 5], [11, 1]], ids=str)
def test_a_track_that_comes_in_pieces_scores_as_a_whole_one(pieces: list[int]) -> None:
    made = torch.Generator().manual_seed(0)
    motion = Motion(*torch.rand(2, 12, 14, 3, generator=made, dtype=torch.float64))
    usable = torch.ones(12, dtype=torch.bool)
    usable[[2, 7]] = False
    whole, cut = TrackScore(PROTOCOLS["open"]), TrackScore(PROTOCOLS["open"])
    whole.add(motion, usable)
    for frames in torch.arange(12).split(pieces):
        cut.add(motion.select(frames), usable[frames])
    assert cut.sums.counts == whole.sums.counts
    assert cut.sums.totals == pytest.approx(whole.sums.totals, rel=1e-12)
    assert cut.num_frames == whole.num_frames == 12
    for end in ("head", "tail"):
        torch.testing.assert_close(vars(getattr(cut, end)), vars(getattr(whole, end)))


def score(truth: str | None, num_frames: int, name: str) -> SequenceScore:
    sums = Sums()
    sums.add("mpjpe_mm", 50.0 * num_frames, num_frames)
    return SequenceScore(
        dataset="d", sequence=name, person="0", truth=truth, num_frames=num_frames, sums=sums
    )


def test_nothing_to_evaluate_is_an_error() -> None:
    with pytest.raises(ValueError, match="none of 1 sequences has a frame"):
        combine([score(None, 0, "a")], PROTOCOLS["open"], 16)


def test_different_kinds_of_truth_do_not_mix() -> None:
    with pytest.raises(ValueError, match=r"\['a', 'b'\] have different kinds of truth"):
        combine([score("smpl", 3, "a"), score("kp_3d", 2, "b")], PROTOCOLS["open"], 16)


def test_a_result_is_json() -> None:
    scores = [score("smpl", 3, "a"), score(None, 0, "b"), score("smpl", 2, "c")]
    result = combine(scores, PROTOCOLS["open"], 16)
    assert result.num_frames == 5
    assert [item.sequence for item in result.per_sequence] == ["a", "c"]
    assert json.loads(json.dumps(result.to_dict()))["metrics"] == {"mpjpe_mm": 50.0}
