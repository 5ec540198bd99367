import re

import numpy as np
import pytest

from tests.data.sources.test_amc import make_asf
from vibe_ray.data.sources import asf


def test_words_of_the_grammar_may_be_names() -> None:
    skeleton = asf.parse_asf(re.sub(r"\blhand\b", "end", make_asf()))
    assert "end" in skeleton.names
    np.testing.assert_array_equal(skeleton.bones, asf.parse_asf(make_asf()).bones)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (":bonedata", ":bones", "no :bonedata in it"),
        ("root lhipjoint", "root ltail", "names 'ltail', which is not in"),
        ("    root lhipjoint rhipjoint lowerback\n", "", "before 'lhipjoint' itself"),
        ("lhipjoint lfemur", "lhipjoint lfemur lowerback", "hangs 'lowerback' on two bones"),
        ("     direction 0.34 -0.94 0\n", "", "bone 'lfemur' lacks its direction"),
        ("direction 0.34 -0.94 0", "direction 0.34 -0.94", "bone 'lfemur' lacks its direction"),
        ("direction 0.34 -0.94 0", "direction a b c", "bone 'lfemur': .*'a'"),
        ("axis 0 0 20  XYZ", "axis 0 0 20  XYX", "bone 'lfemur': 'XYX' is no order"),
        ("dof rx ry rz", "dof rx rx rz", "bone 'lfemur' lists a degree of freedom twice"),
        ("dof rx ry rz", "dof rx ry rw", "bone 'lfemur' has unknown degrees of freedom rw"),
    ],
)
def test_broken_skeletons_say_what_is_broken(before: str, after: str, message: str) -> None:
    assert before in make_asf()
    with pytest.raises(ValueError, match=message):
        asf.parse_asf(make_asf().replace(before, after, 1))
