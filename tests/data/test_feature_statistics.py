from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data import noise
from vibe_ray.data.feature_statistics import MIN_SEQUENCES, FeatureSearch
from vibe_ray.data.schema import PoseSequence
from vibe_ray.data.shards import ShardWriter
from vibe_ray.data.validate import validate

F = 64


def people(number: int, seed: int, **changes: Any) -> list[PoseSequence]:
    """Each has features of its own about those of all."""
    rng = np.random.default_rng(seed)
    of_all = np.random.default_rng(99).uniform(0, 1, F)
    return [
        noise.pose_sequence(
            f"s{seed}_{one}",
            6,
            features=(of_all + 0.3 * rng.standard_normal(F) + 0.1 * rng.standard_normal((6, F))),
            **changes,
        )
        for one in range(number)
    ]


def messages(**sets: list[PoseSequence]) -> list[str]:
    search = FeatureSearch()
    for folder, sequences in sets.items():
        for sequence in sequences:
            search.meet(folder, sequence)
    return [finding.message for finding in search.findings()]


def changed(sequences: list[PoseSequence], by: Any) -> list[PoseSequence]:
    return [replace(one, features=by(one.features)) for one in sequences]


def test_sets_of_other_people_are_alike() -> None:
    assert messages(a=people(30, 0), b=people(30, 1), c=people(90, 2)) == []


@pytest.mark.parametrize("by", [lambda x: 20 * x, lambda x: x + 3, lambda x: 0.1 * x])
def test_features_of_another_making_are_told(by: Any) -> None:
    found = messages(a=people(90, 0), b=people(30, 1), odd=changed(people(30, 2), by))
    assert any(message.startswith("odd: half of its features are") for message in found), found


def test_few_people_are_not_compared() -> None:
    few = changed(people(MIN_SEQUENCES - 1, 2), lambda x: 20 * x)
    assert messages(a=people(90, 0), odd=few) == []


def test_other_encoders_are_not_compared() -> None:
    other = changed(people(30, 1, encoder_id="other"), lambda x: 20 * x)
    assert messages(a=people(30, 0), b=other) == []


def test_frames_in_which_nobody_is_looked_at_do_not_count() -> None:
    def emptied(features: np.ndarray) -> np.ndarray:
        shown = features.copy()
        shown[:5] = 0
        return shown

    assert messages(a=people(90, 0), b=changed(people(90, 1), emptied)) == []


def test_features_that_never_change_are_told(tmp_path: Path) -> None:
    same = changed(people(2, 0), np.ones_like)
    header = noise.header("open_2d/train", feature_dim=F)
    with ShardWriter(str(tmp_path), header) as writer:
        for one in same:
            writer.write(one)
    found = [one for one in validate(str(tmp_path)) if "are the same" in one.message]
    assert [one.level for one in found] == ["warning"]  # a set of one picture is no mistake


def test_the_mean_and_the_spread_are_those_of_all_frames() -> None:
    """Of a sequence longer than what is looked at in one piece, too."""
    long = noise.pose_sequence("long", 1100, features=np.random.default_rng(5).random((1100, F)))
    sequences = [*people(4, 0), long]
    search = FeatureSearch()
    for one in sequences:
        search.meet("a", one)
    whole = np.concatenate([one.features for one in sequences]).astype(np.float64)
    (found,) = search._sets[sequences[0].encoder_id, F].values()
    np.testing.assert_allclose(found.mean, whole.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(found.std, whole.std(axis=0), rtol=1e-6)


def test_other_widths_of_one_encoder_are_not_compared() -> None:
    wider = [
        noise.pose_sequence(f"w{one}", 6, features=np.random.default_rng(one).random((6, F + 1)))
        for one in range(25)
    ]
    narrow = [noise.pose_sequence(f"n{one}", 6, one) for one in range(25)]
    assert messages(a=narrow, b=wider) == []
