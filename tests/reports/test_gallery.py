import numpy as np
import pytest
import torch

from tests.evaluation.toy_sequences import MakeSequence, Noise
from vibe_ray.body.model import BodyArrays
from vibe_ray.reports import gallery
from vibe_ray.reports.gallery import Prediction, sequence_pictures
from vibe_ray.reports.pictures import BodyRow


def test_pictures_show_the_middle_of_a_sequence(
    body: BodyArrays,
    make_sequence: MakeSequence,
    network: Noise,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    strips = []

    def strip(rows: list[BodyRow], faces: np.ndarray, times: list[float], *rest: object) -> bytes:
        strips.append((rows, times, rest))
        return b"png"

    monkeypatch.setattr(gallery, "mesh_strip", strip)
    sequence = make_sequence(90)
    params = network(torch.tensor(sequence.features))
    pictures = sequence_pictures(sequence, [Prediction("VIBE", "#0000ff", params)], body, 1.0)
    assert [picture.kind for picture in pictures] == ["png", "png", "svg", "svg"]
    rows, times, (view, inputs) = strips[0]
    assert [row.label for row in rows] == ["Truth", "VIBE"]
    assert times == pytest.approx([1.0, 1.2, 1.4, 47 / 30, 1.7667, 1.9667], abs=0.04)
    assert (times[0], times[-1]) == (pytest.approx(1.0), pytest.approx(59 / 30))
    assert view == "front"
    np.testing.assert_array_equal(inputs.kp_2d[0], sequence.kp_2d[30])
    assert rows[0].captions == ()
    assert all(caption.endswith(" mm") for caption in rows[1].captions)
    assert strips[1][2] == ("side",)


def test_frames_without_truth_are_not_shown(
    body: BodyArrays, make_sequence: MakeSequence, network: Noise
) -> None:
    sequence = make_sequence(9, has_smpl=np.arange(9) < 5)
    params = network(torch.tensor(sequence.features))
    with pytest.raises(ValueError, match="'walk_0' has no SMPL truth"):
        sequence_pictures(sequence, [Prediction("VIBE", "#0000ff", params)], body)
