from pathlib import Path

import pytest

from vibe_ray.data.sources.hints import (
    checked_fps,
    matching_pattern,
    read_names,
    read_source_fps,
)


def test_a_names_file_says_which_joint_is_which(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text(
        "\ufeff# a comment\n\nleft_hip = mixamorig:Left Up Leg  # the thigh\nspine2=\n"
        "head = Голова\n",
        encoding="utf-8",
    )
    expected = {"left_hip": "mixamorig:Left Up Leg", "spine2": "", "head": "Голова"}
    assert read_names(str(path)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("left_hop = LeftUpLeg", "line 1: SMPL has no joint 'left_hop'; did you mean 'left_hip'"),
        ("\nLeftUpLeg = x", "line 2: SMPL has no joint 'LeftUpLeg'"),
        ("left_hip LeftUpLeg", "line 1: 'left_hip LeftUpLeg': expected 'left_hip = LeftUpLeg'"),
        ("head = a\nhead = b", "line 2: head is listed twice"),
    ],
)
def test_what_is_no_names_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "names.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_names(str(tmp_path / "names.txt"))
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text in UTF-8"):
        read_names(str(tmp_path / "names.txt"))
    with pytest.raises(FileNotFoundError):
        read_names(str(tmp_path / "none.txt"))


def test_rates_are_a_number_or_a_list(tmp_path: Path) -> None:
    assert read_source_fps("59.94") == {"*": 59.94}
    path = tmp_path / "rates.txt"
    path.write_text("# CMU's salsa is 60\nsalsa/* = 60\n*/01 = 30\n* = 120\n")
    rates = read_source_fps(str(path))
    assert rates == {"salsa/*": 60.0, "*/01": 30.0, "*": 120.0}
    for name, fps in (("salsa/01", 60), ("indian/01", 30), ("indian/02", 120)):
        pattern = matching_pattern(name, rates)
        assert pattern is not None
        assert rates[pattern] == fps
    assert matching_pattern("indian/02", {"salsa/*": 60.0}) is None


@pytest.mark.parametrize("text", ["0", "-25", "nan", "inf", "0.0167", "60000"])
def test_rates_that_nobody_records_at_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"frames per second, but motion is recorded at 5 to 1000"):
        read_source_fps(text)
    (tmp_path / "rates.txt").write_text(f"\n* = {text}")
    with pytest.raises(ValueError, match=r"rates\.txt, line 2: .* frames per second"):
        read_source_fps(str(tmp_path / "rates.txt"))


def test_other_words_are_no_rates(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_source_fps("thirty")
    (tmp_path / "rates.txt").write_text("* = thirty")
    with pytest.raises(ValueError, match=r"line 1: 'thirty' is no frame rate"):
        read_source_fps(str(tmp_path / "rates.txt"))
    assert checked_fps(120.0, "here") == 120.0
