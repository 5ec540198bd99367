from vibe_ray.distributed.jobs import MAX_TRIES, Tries


def test_what_ends_its_worker_each_time_is_given_up() -> None:
    tries = Tries()
    assert [tries.begin("a") for _ in range(MAX_TRIES + 1)] == [1, 2, 3, 4]
    assert tries.begin("b") == 1


def test_what_ends_no_worker_is_as_if_never_begun() -> None:
    """Though it is done again with what was handed out together with it."""
    tries = Tries()
    for _ in range(MAX_TRIES + 1):
        assert tries.begin("a") == 1
        tries.end("a")
