"""Do a file's rows agree with what the manifest says of them? Training trusts the manifest alone.

Shapes: N frames of a row.
"""

import math
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vibe_ray.body.skeletons import NUM_BETAS
from vibe_ray.data.manifest import Manifest, ShardFile
from vibe_ray.data.rows import value
from vibe_ray.data.schema import ARRAYS, SCHEMAS, known_shapes


def row_problems(content: bytes, file: ShardFile, manifest: Manifest) -> Iterator[str]:
    """Yield where a file's content differs from its manifest, one text for each kind of problem."""
    try:
        parquet = pq.ParquetFile(pa.BufferReader(content))
    except pa.ArrowInvalid as error:
        yield f"is no Parquet file ({error})"
        return
    schema = SCHEMAS[manifest.kind]
    columns, known = (
        {(f.name, f.type) for f in parquet.schema_arrow},
        {(f.name, f.type) for f in schema},
    )
    if odd := sorted({name for name, _ in columns ^ known}):
        yield f"columns are missing, unknown or of another type: {', '.join(odd)}"
        return
    groups = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    if groups != [1] * len(file.clip_frames):
        yield (
            f"has {sum(groups)} rows in {len(groups)} row groups, the manifest expects "
            f"{len(file.clip_frames)}, each in its own"
        )
        return
    wrong: dict[str, list[str]] = {}
    for index, num_frames in enumerate(file.clip_frames):
        row = parquet.read_row_group(index)
        for name, (found, expected) in _facts(row, num_frames, manifest):
            if found != expected:
                text = f"{name} of row {index} is {found!r}, expected {expected!r}"
                wrong.setdefault(name, []).append(text)
    for texts in wrong.values():
        yield texts[0] + (f" (and {len(texts) - 1} rows more)" if texts[1:] else "")


def _facts(
    row: pa.Table, num_frames: int, manifest: Manifest
) -> Iterator[tuple[str, tuple[object, object]]]:
    """Yield what stands in a row, and what should."""
    if nulls := [name for name in row.column_names if row[name].null_count]:
        yield from ((name, (None, "a value")) for name in nulls)
        return
    expected: dict[str, object] = {"schema_version": manifest.schema_version}
    expected["num_frames"] = num_frames
    widths = manifest.widths
    if manifest.kind == "pose":
        expected |= {"encoder_id": manifest.encoder_id, "feature_dim": manifest.feature_dim}
        widths["features"] = value(row, "feature_dim")
    yield from ((name, (value(row, name), wanted)) for name, wanted in expected.items())
    sizes = {}
    if manifest.kind == "motion":  # of a whole clip
        sizes["betas"] = NUM_BETAS * np.dtype("<f4").itemsize
    for name, shape in known_shapes(manifest.kind, widths).items():
        itemsize = np.dtype(ARRAYS[manifest.kind][name][0]).itemsize
        sizes[name] = value(row, "num_frames") * math.prod(shape) * itemsize
    for name, wanted in sizes.items():
        yield f"the size in bytes of {name}", (pc.binary_length(row[name])[0].as_py(), wanted)
