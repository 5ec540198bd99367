from pathlib import Path

import pytest

from vibe_ray.prediction.many import Job, plan


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def folders(jobs: list[Job], out: str) -> dict[str, str]:
    return {job.path.rsplit("/", 1)[-1]: job.folder.removeprefix(f"{out}/") for job in jobs}


def test_a_file_is_a_video_whatever_it_is_called() -> None:
    here = Path.cwd()
    jobs = plan(["a/clip.odd"], "out")
    assert jobs == [Job(str(here / "a/clip.odd"), str(here / "out/clip"))]


def test_a_folders_videos_keep_its_order_of_folders(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.mp4", "b/a.MOV", "b/notes.txt", "c.mkv")
    jobs = plan([str(root)], "/out")
    assert sorted(job.folder for job in jobs) == ["/out/a", "/out/b/a", "/out/c"]
    assert {Path(job.path).name for job in jobs} == {"a.mp4", "a.MOV", "c.mkv"}


def test_videos_that_differ_in_their_ending_keep_it(tmp_path: Path) -> None:
    root = touch(tmp_path / "in", "a.mp4", "a.mov")
    assert {job.folder for job in plan([str(root)], "/out")} == {"/out/a.mp4", "/out/a.mov"}


def test_pictures_are_one_video(tmp_path: Path) -> None:
    root = touch(tmp_path / "walk", "1.jpg", "2.jpg")
    assert plan([str(root)], "/out") == [Job(str(root), "/out/walk")]


def test_videos_in_a_store_are_found() -> None:
    from vibe_ray import storage

    storage.write_bytes_atomic("memory://many/x/a.mp4", b"x")
    storage.write_bytes_atomic("memory://many/b.mp4", b"x")
    jobs = plan(["memory://many"], "memory://results")
    assert {(job.path, job.folder) for job in jobs} == {
        ("memory://many/b.mp4", "memory://results/b"),
        ("memory://many/x/a.mp4", "memory://results/x/a"),
    }


def test_results_are_no_new_videos(tmp_path: Path) -> None:
    root = touch(tmp_path, "a.mp4", "results/a/overlay.mp4", "results/a/summary.json")
    assert folders(plan([str(root)], str(root / "results")), str(root / "results")) == {
        "a.mp4": "a"
    }


def test_a_folder_of_neither_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"neither videos nor pictures in .* as notes\.txt"):
        plan([str(tmp_path)], "out")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"neither videos nor pictures in .* is empty"):
        plan([str(tmp_path)], "out")


def test_two_videos_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match=r"several videos would write into .*out/a"):
        plan(["x/a.mp4", "y/a.mp4"], "out")


@pytest.mark.parametrize("out", [".", "..", "results"])
def test_videos_are_found_wherever_their_results_go(
    out: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path / "in", "a.mp4", "results/b.mp4", "overlay.mp4"))
    found = {Path(job.path).name for job in plan(["."], out)}
    assert found == {"a.mp4", "b.mp4", "overlay.mp4"}
    assert len(plan(["results/b.mp4"], out)) == 1


def test_a_folder_of_overlays_has_no_videos(tmp_path: Path) -> None:
    root = touch(tmp_path, "a/overlay.mp4", "a/summary.json")
    with pytest.raises(FileNotFoundError, match="but overlays of our own"):
        plan([str(root)], str(root))
