import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from tests.body.made_up_bodies import chumpy_modules, chumpy_object
from vibe_ray.body.licensed import read_smpl_pickle


class Bomb:
    """Calls a function when unpickled, as a hostile file would."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (eval, r"\w+.eval"), (getattr, r"\w+.getattr")],
    ids=["system", "eval", "getattr"],
)
def test_a_hostile_file_is_refused_and_not_executed(
    tmp_path: Path, protocol: int, function: Callable[..., Any], name: str
) -> None:
    trace = tmp_path / "trace"
    arguments = {
        os.system: (f"touch {trace}",),
        eval: (f"open({str(trace)!r}, 'w')",),
        getattr: (trace, "touch"),
    }[function]
    bomb = {"v_template": np.zeros(3), "shapedirs": Bomb(function, *arguments)}
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(pickle.dumps(bomb, protocol=protocol))
    with pytest.raises(ValueError, match=f"refused .*asks for {name}. Nothing in it was executed"):
        read_smpl_pickle(path)
    assert not trace.exists()
    if function is not getattr:  # the bomb is real: an ordinary load sets it off
        pickle.loads(path.read_bytes())
        assert trace.exists()


@pytest.mark.parametrize(
    "program",
    [
        b"cnumpy\nload\n.",
        b"cnumpy.testing._private.utils\nrunstring\n.",
        b"cscipy.sparse._csc\nos\n.",
        b"cbuiltins\n__import__\n.",
        # Allowed names called with what they were not allowed for.
        b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\ncbuiltins\nobject\nNtR.",
        b"c_codecs\nencode\n(Vabc\nVrot13\ntR.",
        # A chumpy class is a record: it cannot be called with arguments.
        b"cchumpy.ch\nCh\n(Vabc\ntR.",
        b"",
        b"not a pickle at all",
        b"\x80\x04\x95",
    ],
)
def test_other_ways_in_are_refused(tmp_path: Path, program: bytes) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(program)
    with pytest.raises(ValueError, match="refused as an SMPL model"):
        read_smpl_pickle(path)


def test_a_record_overrides_nothing(tmp_path: Path) -> None:
    # State that names Python's own attributes stays data.
    path = tmp_path / "model.pkl"
    path.write_bytes(b"(dVkey\nccopyreg\n_reconstructor\n(cchumpy.ch\nCh\ncbuiltins\nobject\nNtR"
                     b"(dV__class__\nVevil\nsV__reduce__\nVevil\nsVx\nI7\nsbs.")  # fmt: skip
    assert read_smpl_pickle(path) == {"key": np.array(7)}


def as_python_2_wrote_it(content: bytes) -> bytes:
    """Names from before numpy 2 and scipy 1.8 moved their modules."""
    return content.replace(b"numpy._core", b"numpy.core").replace(b"sparse._cs", b"sparse.cs")


@pytest.mark.parametrize("old_names", [False, True])
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_reads_everything_that_smpl_files_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, old_names: bool
) -> None:
    rng = np.random.default_rng(0)
    dense = rng.random((5, 7)) * (rng.random((5, 7)) < 0.3)
    values = rng.random((4, 6))
    with monkeypatch.context() as patch:
        chumpy = chumpy_modules(patch)
        plain = chumpy_object(chumpy, "Ch", x=values)
        idxs = np.arange(24).reshape(4, 6)[:, 1:3]
        entries = {
            "array": values.astype(">f4"),
            "fortran": np.asfortranarray(values),
            "scalar": np.float64(1.5),
            "text": "lrotmin",
            "csc": scipy.sparse.csc_matrix(dense),
            "csr": scipy.sparse.csr_matrix(dense),
            "coo": scipy.sparse.coo_matrix(dense),
            "csc_array": scipy.sparse.csc_array(dense),
            "csr_array": scipy.sparse.csr_array(dense),
            "coo_array": scipy.sparse.coo_array(dense),
            "ch": plain,
            "select": chumpy_object(
                chumpy, "Select", a=plain, idxs=idxs.ravel(), preferred_shape=idxs.shape
            ),
            "flat": chumpy_object(chumpy, "Select", a=plain, idxs=np.array([3, 1])),
            "names": {"a": {"b", "c"}},
        }
        content = pickle.dumps(entries, protocol=protocol)
    if old_names:
        content = as_python_2_wrote_it(content)
        assert b"_core" not in content
        assert b"scipy.sparse.csc" in content
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    actual = read_smpl_pickle(path)
    assert list(actual) == list(entries)
    np.testing.assert_array_equal(actual["array"], values.astype("f4"))
    np.testing.assert_array_equal(actual["fortran"], values)
    np.testing.assert_array_equal(actual["csc"], dense)
    np.testing.assert_array_equal(actual["csr"], dense)
    for kind in ("coo", "csc_array", "csr_array", "coo_array"):
        np.testing.assert_array_equal(actual[kind], dense)
    np.testing.assert_array_equal(actual["ch"], values)
    np.testing.assert_array_equal(actual["select"], values[:, 1:3])
    np.testing.assert_array_equal(actual["flat"], values.ravel()[[3, 1]])
    assert (actual["scalar"], actual["text"]) == (1.5, "lrotmin")
    assert actual["names"] == {"a": {"b", "c"}}


def test_what_only_chumpy_can_compute_is_left_out_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with monkeypatch.context() as patch:
        chumpy = chumpy_modules(patch)
        product = chumpy_object(chumpy, "MatVecMult", x=np.ones(3))
        content = pickle.dumps({"v_posed": product, "J": np.ones(2)}, protocol=2)
    path = tmp_path / "model.pkl"
    path.write_bytes(content)
    assert list(read_smpl_pickle(path)) == ["J"]
    assert "left 'v_posed'" in caplog.text
    assert "MatVecMult" in caplog.text


def test_a_pickle_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="holds a list, expected SMPL's dictionary"):
        read_smpl_pickle(path)


def test_a_missing_file_stays_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_smpl_pickle(tmp_path / "none.pkl")


def test_a_file_that_was_sent_as_text_is_called_so(tmp_path: Path) -> None:
    whole = pickle.dumps({"v_template": np.arange(6.0)}, protocol=0)
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(whole)
    np.testing.assert_array_equal(read_smpl_pickle(path)["v_template"], np.arange(6.0))
    path.write_bytes(whole.replace(b"\n", b"\r\n"))
    with pytest.raises(ValueError, match="those of a text file: download it again as binary"):
        read_smpl_pickle(path)
