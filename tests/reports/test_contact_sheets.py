import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data import noise
from tests.prediction.filmed import HEIGHT, WIDTH, walk
from vibe_ray import prepare
from vibe_ray.body.params import SmplParams
from vibe_ray.data.labels import LabelledSequence
from vibe_ray.data.schema import MAX_CLIP_FRAMES
from vibe_ray.data.shards import ShardWriter
from vibe_ray.reports import contact_sheets
from vibe_ray.reports.contact_sheets import (
    LEFT_COLOR,
    NUM_COLUMNS,
    RIGHT_COLOR,
    TILE_INCHES,
    Row,
    write_sheets,
)
from vibe_ray.video.labels import label_track

RED = (200, 30, 30)


def labels(raw: Path, name: str) -> LabelledSequence:
    """Somebody who walks, of whom all is known; the pictures are red."""
    filmed = walk(18)
    found = label_track(filmed.track, filmed.facts, dataset="made_up", sequence=name)
    params = SmplParams(torch.from_numpy(filmed.rotmat), torch.zeros(1, 10), torch.zeros(1, 3))
    N = found.num_frames
    images = tuple(str(raw / f"{name}_{n}.png") for n in range(N))
    for path in images:
        Image.new("RGB", (WIDTH, HEIGHT), RED).save(path)
    return replace(
        found, video="", images=images, pose=params.pose.numpy(),
        betas=np.tile(filmed.betas, (N, 1)), has_smpl=np.ones(N, bool),
    )  # fmt: skip


def write(out: Path, raw: Path, num: int) -> None:
    raw.mkdir(exist_ok=True)
    made = [labels(raw, f"walk_{number}") for number in range(num)]
    header = noise.header("labels/train", names=made[0].names, raw=str(raw))
    with ShardWriter(str(out), header) as writer:
        for one in made:
            writer.write(one)


def pixels(path: str | Path) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(Path(path).read_bytes())).convert("RGB"), int)


def places_of(image: np.ndarray, color: str) -> np.ndarray:
    wanted = [int(color[start : start + 2], 16) for start in (1, 3, 5)]
    return np.argwhere(np.abs(image - wanted).max(axis=-1) < 12)


def test_labels_are_drawn_over_their_pictures(tmp_path: Path) -> None:
    write(tmp_path / "data/train", tmp_path / "raw", 2)
    (sheet,) = write_sheets(str(tmp_path / "data"), str(tmp_path / "sheets"))
    assert sheet == str(tmp_path / "sheets/train.png")
    image = pixels(sheet)
    width = image.shape[1]
    assert width == pytest.approx(110 * NUM_COLUMNS * TILE_INCHES, abs=1)
    red = (np.abs(image - RED).max(axis=-1) < 12).mean()
    assert red > 0.2  # two lines of four, nearly filled
    # The second frame's tile of the first line: who walks toward the camera has left at the right.
    top = np.flatnonzero((np.abs(image - RED).max(axis=-1) < 12).any(axis=1))[0]
    first = image[top : top + 140, width // NUM_COLUMNS : 2 * width // NUM_COLUMNS]
    left, right = places_of(first, LEFT_COLOR), places_of(first, RIGHT_COLOR)
    assert min(len(left), len(right)) > 20
    assert left[:, 1].mean() > right[:, 1].mean() + 5


def test_without_pictures_a_blank_is_drawn_and_the_sheet_is_made_all_the_same(
    tmp_path: Path,
) -> None:
    write(tmp_path / "train", tmp_path / "raw", 1)
    (with_pictures,) = write_sheets(str(tmp_path / "train"), str(tmp_path / "a"))
    (without,) = write_sheets(str(tmp_path / "train"), str(tmp_path / "b"), raw="/nowhere")
    shapes, reds = [], []
    for path in (with_pictures, without):
        image = pixels(path)
        shapes.append(image.shape)
        reds.append(int((np.abs(image - RED).max(axis=-1) < 12).sum()))
        assert len(places_of(image, LEFT_COLOR)) > 100
    assert shapes[0] == shapes[1]
    assert reds[0] > 5000
    assert reds[1] == 0
    assert without.endswith("b/sheet.png")


def test_every_data_set_of_a_folder_gets_its_sheet_by_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheets, "NUM_COLUMNS", 2)
    data, out = tmp_path / "data", tmp_path / "sheets"
    for name in ("open_3d/train", "motion/val"):
        noise.write(str(data), name, (20,))
    prepare.main(["inspect", str(data), "--out", str(out)])
    printed = capsys.readouterr().out.splitlines()
    assert sorted(printed) == [f"{out}/motion/val.png", f"{out}/open_3d/train.png"]
    for line in printed:
        assert pixels(line).std() > 5


def test_of_many_recordings_some_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheets, "NUM_COLUMNS", 1)
    monkeypatch.setattr(contact_sheets, "MAX_WINDOWS", 2)
    for name, num in (("few", 2), ("many", 5)):
        write(tmp_path / name, tmp_path / "raw", num)
    few, many = (
        pixels(sheet)
        for name in ("few", "many")
        for sheet in write_sheets(str(tmp_path / name), str(tmp_path / f"{name}_out"))
    )
    assert few.shape == many.shape


@pytest.mark.parametrize("name", ["motion/train", "open_3d/train", "labels/train"])
@pytest.mark.parametrize(
    ("lengths", "expected"),
    [
        ((20,) * 11, [0, 5, 10]),
        ((2 * MAX_CLIP_FRAMES + 9,) * 4, [0, 2, 3]),  # of many clips each
        ((20, 20), [0, 1]),
    ],
)
def test_recordings_are_drawn_from_the_first_to_the_last(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    lengths: tuple[int, ...],
    expected: list[int],
) -> None:
    monkeypatch.setattr(contact_sheets, "MAX_WINDOWS", 3)
    drawn: list[str] = []

    def note(title: str, rows: list[Row], faces: np.ndarray) -> bytes:
        drawn.extend(row.title.split(",")[0] for row in rows)
        return b""

    monkeypatch.setattr(contact_sheets, "_draw", note)
    make = {"motion/train": noise.motion_sequence, "open_3d/train": noise.pose_sequence}
    with ShardWriter(str(tmp_path / "data"), noise.header(name)) as writer:
        for number, length in enumerate(lengths):
            writer.write(make.get(name, noise.labelled_sequence)(f"walk_{number}", length, number))
    list(write_sheets(str(tmp_path / "data"), str(tmp_path / "out")))
    assert [one.split()[0] for one in drawn] == [f"walk_{number}" for number in expected]


def test_what_is_there_is_not_replaced_and_nothing_is_drawn_beside_it(tmp_path: Path) -> None:
    for name in ("a/train", "b/train"):
        noise.write(str(tmp_path), name, (20,))
    mine = tmp_path / "b/train.png"
    mine.write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"b/train\.png is there already: give another --out"):
        list(write_sheets(str(tmp_path), str(tmp_path)))
    assert mine.read_bytes() == b"mine"
    assert not (tmp_path / "a/train.png").exists()


def test_what_comes_while_we_draw_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out/motion/train.png"

    def slowly(title: str, rows: list[Row], faces: np.ndarray) -> bytes:
        target.parent.mkdir(parents=True)
        target.write_bytes(b"mine")
        return b"drawn"

    monkeypatch.setattr(contact_sheets, "_draw", slowly)
    noise.write(str(tmp_path / "data"), "motion/train", (20,))
    with pytest.raises(FileExistsError, match="is there already"):
        list(write_sheets(str(tmp_path / "data"), str(tmp_path / "out")))
    assert target.read_bytes() == b"mine"


def test_every_data_set_has_a_sheet_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact_sheets, "_draw", lambda title, rows, faces: title.encode())
    for name in ("motion/val", "motion/val_x"):
        noise.write(str(tmp_path / "data"), name, (20,))
    noise.write(str(tmp_path / "data/motion"), "motion/x", (20,))
    noise.write(str(tmp_path / "data"), "motion/motion_x", (20,))
    sheets = list(write_sheets(str(tmp_path / "data"), str(tmp_path / "out")))
    drawn = {Path(sheet).relative_to(tmp_path / "out").as_posix() for sheet in sheets}
    assert drawn == {
        *("motion/val.png", "motion/val_x.png"),
        *("motion/motion/x.png", "motion/motion_x.png"),
    }


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no data set at or below"):
        list(write_sheets(str(tmp_path), str(tmp_path / "out")))
