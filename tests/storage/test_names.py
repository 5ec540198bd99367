"""Names from command lines and manifests stay in their folder."""

import pytest

from vibe_ray.storage.names import check_plain_name, is_plain_name


@pytest.mark.parametrize("name", ["run", "a b", "..a", ".hidden", "step_0000010", "ünïcode", "-1"])
def test_names_of_one_folder(name: str) -> None:
    assert is_plain_name(name)
    assert check_plain_name(name, "--name") == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "/etc", "a/b", "../x", "a\\b", "s3://x", "C:", "a\nb", "a\x00"]
)
def test_names_that_lead_elsewhere(name: str) -> None:
    assert not is_plain_name(name)
    with pytest.raises(ValueError, match=r"--name is .* expected the name of one"):
        check_plain_name(name, "--name")
