from vibe_ray.distributed.jobs import MAX_TRIES, Tries


def test_what_ends_its_worker_each_time_is_given_up() -> None:
    tries = Tries()
    assert [tries.begin("a") for _ in range(MAX_TRIES + 1)] == [1, 2, 3, 4]
    assert tries.begin("b") == 1
