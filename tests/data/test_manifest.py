import hashlib
import json
from dataclasses import replace

import pytest
from pydantic import ValidationError

from tests.data import noise
from vibe_ray.data.manifest import Manifest, ShardFile


def test_a_manifest_counts_and_survives_json() -> None:
    files = [
        ShardFile(name="a", num_bytes=1, sha256="x", clip_frames=[512, 3]),
        ShardFile(name="b", num_bytes=1, sha256="y", clip_frames=[7]),
    ]
    manifest = noise.header("open_3d/train", files=files)
    assert (manifest.num_clips, manifest.num_frames) == (3, 522)
    again = Manifest.model_validate_json(manifest.model_dump_json(indent=1))
    assert again == manifest
    assert again.hash() == manifest.hash()


def test_the_hash_tells_other_files_and_other_headers_apart() -> None:
    file = ShardFile(name="a", num_bytes=1, sha256="x", clip_frames=[512, 3])
    manifest = noise.header("open_3d/train", files=[file])
    other_file = manifest.model_copy(update={"files": [replace(file, sha256="y")]})
    other_encoder = manifest.model_copy(update={"encoder_id": "better"})
    assert len({item.hash() for item in (manifest, other_file, other_encoder)}) == 3
    assert manifest.has_header_of(other_file)
    assert not manifest.has_header_of(other_encoder)


def test_a_manifest_with_unknown_entries_is_refused() -> None:
    with pytest.raises(ValidationError, match="colour"):
        noise.header("open_3d/train", colour="red")


@pytest.mark.parametrize("lengths", [[1.5], ["7"], 7, [2**40], None, {"a": 1}])
def test_lengths_of_clips_are_whole_numbers(lengths: object) -> None:
    file = ShardFile(name="a", num_bytes=1, sha256="x", clip_frames=[512, 3])
    text = noise.header("open_3d/train", files=[file]).text()
    assert '"clip_frames":[512,3]' in text
    with pytest.raises(ValidationError, match="clip_frames"):
        Manifest.model_validate_json(text.replace("[512,3]", json.dumps(lengths)))


def test_what_labels_need_changes_no_manifest_of_another_kind() -> None:
    known = {"schema_version": 1, "kind": "pose", "dataset": "open_3d", "split": "train"}
    known |= {"source": "random numbers", "converter": "noise", "converter_version": 1}
    known |= {"fps": 25.0, "encoder_id": "noise", "feature_dim": noise.F, "files": []}
    text = json.dumps(known, separators=(",", ":"))
    manifest = noise.header("open_3d/train")
    assert manifest.text() == text
    assert manifest.hash() == hashlib.sha256(text.encode()).hexdigest()


def test_labels_name_their_keypoints_once() -> None:
    manifest = noise.header("labels/train")
    again = Manifest.model_validate_json(manifest.text())
    assert again == manifest
    assert again.names == noise.NAMES
    assert again.widths["detected_conf"] == 17
