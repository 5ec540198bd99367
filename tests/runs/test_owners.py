"""A folder has one owner: of all who ask at once, and after any of them was killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from vibe_ray import storage
from vibe_ray.runs import owners
from vibe_ray.runs.owners import is_owner_file, owned

HOLD = """
import sys, time
from vibe_ray.runs.owners import owned
with owned(sys.argv[1], "run"):
    print("mine", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def folder(anywhere: str) -> str:
    return anywhere


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats and looks as before, in a hundredth of the time."""
    for name in ("BEAT_SECONDS", "STALE_SECONDS", "LOOK_SECONDS"):
        monkeypatch.setattr(owners, name, getattr(owners, name) / 100)


def names(folder: str) -> list[str]:
    return storage.visible_files(folder)


def test_a_folder_in_use_is_refused_and_told_whose_it_is(folder: str) -> None:
    with owned(folder, "run"):
        assert names(folder) == ["owner-00001.json"]
        who = f"process {os.getpid()} on .* is at this run"
        with pytest.raises(ValueError, match=rf"in use: {who}.*--name NAME"), owned(folder, "run"):
            pass
        storage.write_bytes_atomic(storage.join(folder, "run.json"), b"{}")
    with owned(folder, "run"):
        assert names(folder) == ["owner-00002.json", "run.json"]


def test_what_was_refused_leaves_nothing(folder: str) -> None:
    with pytest.raises(ZeroDivisionError), owned(folder, "run"):
        raise ZeroDivisionError
    assert names(folder) == []


@pytest.mark.parametrize("is_left", [False, True])
def test_of_many_who_ask_at_once_one_owns(folder: str, is_left: bool) -> None:
    if is_left:  # one before was killed
        gone = replace(owners.own_self(), pid=2**22 + 1)
        storage.write_bytes_atomic(f"{folder}/owner-00004.json", owners._content(gone))
    together, over = threading.Barrier(8), threading.Event()

    def ask(_: int) -> str:
        together.wait()
        try:
            with owned(folder, "run"):
                storage.write_bytes_atomic(f"{folder}/run.json", b"{}")
                over.wait(30)
        except ValueError as error:
            return str(error)
        return "mine"

    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(ask, number) for number in range(8)]
        while sum(item.done() for item in asked) < 7:
            time.sleep(0.01)
        over.set()
        answers = [item.result() for item in asked]
    assert answers.count("mine") == 1
    assert all("is in use" in answer for answer in answers if answer != "mine")


def test_who_was_killed_is_followed_at_once_on_the_same_machine(tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "mine\n"
        with pytest.raises(ValueError, match=f"process {process.pid}"), owned(folder, "run"):
            pass
        process.send_signal(signal.SIGSTOP)  # it may go on at any moment
        with pytest.raises(ValueError, match=f"process {process.pid}"), owned(folder, "run"):
            pass
    finally:
        process.kill()  # and not waited for: it stays a zombie
    deadline = time.monotonic() + 30
    while True:
        try:
            with owned(folder, "run"):
                break
        except ValueError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    process.wait()


def test_a_number_that_another_process_has_now_is_no_owner(tmp_path: Path) -> None:
    before = replace(owners.own_self(), started="1")
    storage.write_bytes_atomic(f"{tmp_path}/owner-00001.json", owners._content(before))
    with owned(str(tmp_path), "run"):
        pass


def other_machine(folder: str) -> owners.Owner:
    """As one that was killed there leaves it."""
    owner = replace(owners.own_self(), machine="elsewhere", host="elsewhere", beat=7)
    storage.write_bytes_atomic(f"{folder}/owner-00003.json", owners._content(owner))
    return owner


def test_who_was_killed_elsewhere_is_followed_when_it_was_silent(
    folder: str, caplog: pytest.LogCaptureFixture
) -> None:
    other_machine(folder)
    looked: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owners.time, "sleep", looked.append)
        with owned(folder, "run"):
            assert names(folder) == ["owner-00004.json"]
    assert sum(looked) == pytest.approx(owners.STALE_SECONDS)
    assert "on elsewhere, which has not said that it left: looking" in caplog.text


def test_who_lives_elsewhere_is_not(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = other_machine(folder)

    def beat(_: float) -> None:
        content = owners._content(replace(owner, beat=8))
        storage.write_bytes_atomic(f"{folder}/owner-00003.json", content)

    monkeypatch.setattr(owners.time, "sleep", beat)
    with pytest.raises(ValueError, match=r"use: process .* on elsewhere"), owned(folder, "run"):
        pass


def test_an_owner_says_that_it_lives(folder: str) -> None:
    with owned(folder, "run"):
        path = f"{folder}/owner-00001.json"
        deadline = time.monotonic() + 30
        while (owner := owners._read(folder, 1)) is None or owner.beat < 2:
            assert time.monotonic() < deadline, storage.read_bytes(path)
            time.sleep(0.02)


@pytest.mark.parametrize("number", [2, 3])
def test_who_slept_while_others_followed_ends(
    number: int, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third has deleted the files before its own."""
    ended: list[tuple[int, int]] = []
    told = threading.Event()

    def kill(pid: int, signal_number: int) -> None:
        ended.append((pid, signal_number))
        told.set()

    monkeypatch.setattr(owners.os, "kill", kill)
    with owned(folder, "run"):
        other = owners._content(replace(owners.own_self(), machine="elsewhere"))
        storage.write_bytes_atomic(f"{folder}/owner-0000{number}.json", other)
        if number == 3:
            storage.delete_file(f"{folder}/owner-00001.json")
        assert told.wait(30)
    assert ended == [(os.getpid(), signal.SIGTERM)]
    assert owners._read(folder, number) == owners.Owner(**json.loads(other))
    assert owners._read(folder, 1) is None or number == 2


def test_a_file_that_is_about_to_be_written_is_looked_at_again(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.write_bytes_atomic(f"{folder}/owner-00001.json", b"")

    def written(_: float) -> None:
        storage.write_bytes_atomic(f"{folder}/owner-00001.json", owners._content(owners.own_self()))

    monkeypatch.setattr(owners.time, "sleep", written)
    with pytest.raises(ValueError, match="is in use"), owned(folder, "run"):
        pass


def test_who_slept_while_others_came_and_left_does_not_take_it_from_who_is_there(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that leaves nothing behind lets numbers begin anew."""
    gone = replace(owners.own_self(), has_left=True)
    storage.write_bytes_atomic(f"{folder}/owner-00004.json", owners._content(gone))
    create = storage.create_exclusive

    def late(path: str, content: bytes) -> bool:
        storage.delete_file(f"{folder}/owner-00004.json")
        assert create(f"{folder}/owner-00001.json", owners._content(owners.own_self()))
        return create(path, content)

    monkeypatch.setattr(storage, "create_exclusive", late)
    with pytest.raises(ValueError, match="is in use"), owned(folder, "run"):
        pass
    assert names(folder) == ["owner-00001.json"]


def test_which_files_are_owners() -> None:
    assert is_owner_file("owner-00001.json")
    assert not is_owner_file("owner.json")
    assert not is_owner_file("below/owner-00001.json")
