"""What a trial claims of the cluster, and how many run at once."""

import pytest

from vibe_ray.distributed.trial import num_concurrent, trial_resources


@pytest.mark.parametrize(
    ("cpus", "gpus", "workers", "expected"),
    [
        (3, 0, 1, 2),
        (3, 0, 2, 1),
        (3, 0, 0, 2),
        (2, 0, 0, 1),
        (2, 0, 1, 1),
        (64, 0, 4, 14),
        (64, 8, 4, 2),
        (64, 8, 1, 8),
        (64, 8, 0, 8),
        (200, 0, 0, 199),
    ],
)
def test_trials_at_once(cpus: float, gpus: float, workers: int, expected: int) -> None:
    assert num_concurrent(cpus, gpus, workers) == expected


@pytest.mark.parametrize("workers", range(1, 9))
@pytest.mark.parametrize("cpus", [9, 16, 63, 200])
def test_running_trials_leave_room_for_their_readers(cpus: int, workers: int) -> None:
    trials = num_concurrent(cpus, 0, workers)
    assert trials >= 1
    assert cpus - trials * workers >= max(1, 0.5 * trials)


def test_a_trial_claims_what_it_computes_on_itself() -> None:
    assert trial_resources(workers=0, gpus=0) == {"CPU": 1}
    assert trial_resources(workers=0, gpus=4) == {"CPU": 1, "GPU": 1}
    assert trial_resources(workers=2, gpus=4)["CPU"] == 0
