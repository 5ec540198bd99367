import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data import noise
from vibe_ray.data.validate import validate

N = 20


DISAGREEMENTS: list[tuple[dict[str, Any], str]] = [
    ({"encoder_id": "other"}, "encoder_id of row 0 is 'noise', expected 'other' (and 1 rows more)"),
    ({"feature_dim": 8}, f"feature_dim of row 0 is {noise.F}, expected 8 (and 1 rows more)"),
    ({"clip_frames": [N, 16]}, f"num_frames of row 1 is {N}, expected 16"),
    ({"clip_frames": [N]}, "has 2 rows in 2 row groups, the manifest expects 1, each in its own"),
    ({"clip_frames": [N] * 3}, "has 2 rows in 2 row groups, the manifest expects 3, each in its"),
]


@pytest.mark.parametrize(("changes", "message"), DISAGREEMENTS)
def test_a_manifest_that_says_something_else_than_its_rows_is_found(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    folder = noise.write(str(tmp_path), "open_3d/train", (N, N))
    path = Path(folder, "manifest.json")
    manifest = json.loads(path.read_text())
    (file,) = manifest["files"]
    for name, value in changes.items():
        (file if name in file else manifest)[name] = value
    path.write_text(json.dumps(manifest))
    (found,) = validate(folder)
    assert found.level == "error"
    assert found.message.startswith(f"{folder}: {file['name']}: {message}")


def rewrite(folder: Path, change: Callable[[pa.Table], pa.Table]) -> str:
    """Change the rows of a data set's one file, whose manifest then has its hash; return its name.

    What writes shards without `ShardWriter` may do so, and knows nothing of checksums.
    """
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    (file,) = manifest["files"]
    with pq.ParquetFile(folder / file["name"]) as source:
        rows = [change(source.read_row_group(i)) for i in range(source.num_row_groups)]
    with pq.ParquetWriter(folder / file["name"], rows[0].schema) as writer:
        for row in rows:
            writer.write_table(row)
    del file["footer_bytes"], file["footer_sha256"]
    file["sha256"] = hashlib.sha256((folder / file["name"]).read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))
    return str(file["name"])


def with_column(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    def change(row: pa.Table) -> pa.Table:
        index, field = row.column_names.index(name), row.schema.field(name)
        return row.set_column(index, field, pa.array([value], field.type))

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_column("schema_version", 9), "schema_version of row 0 is 9, expected 1"),
        (with_column("num_frames", None), "num_frames of row 0 is None, expected 'a value'"),
        (with_column("num_frames", 1), f"num_frames of row 0 is 1, expected {N}"),
        (with_column("kp_2d", b"12"), f"the size in bytes of kp_2d of row 0 is 2, exp.* {N * 392}"),
        (with_column("features", b"12" * N), "the size in bytes of features of row 0 is 40, expec"),
        (lambda row: row.drop_columns(["pose"]), "columns are missing, .* type: pose: prepare"),
        (
            lambda row: row.cast(
                pa.schema([f.with_type(pa.int32()) if f.name == "fps" else f for f in row.schema])
            ),
            "columns are missing, unknown or of another type: fps",
        ),
        (lambda row: pa.concat_tables([row, row]), "has 2 rows in 1 row groups, the manifest exp"),
    ],
)
def test_a_misshapen_row_is_found_and_the_other_data_sets_are_checked(
    tmp_path: Path, change: Callable[[pa.Table], pa.Table], message: str
) -> None:
    noise.write(str(tmp_path), "open_3d/train", (N,))
    noise.write(str(tmp_path), "open_3d/val", (N,), encoder_id="noise", fps=120.0)
    name = rewrite(tmp_path / "open_3d/train", change)
    messages = [finding.message for finding in validate(str(tmp_path))]
    assert messages[0].startswith(f"{tmp_path}/open_3d/train: {name}: ")
    assert re.search(message, messages[0]), messages
    assert any("open_3d/val plays at 120 frames per second" in text for text in messages)
