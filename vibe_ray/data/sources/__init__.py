"""One module per source: each reads raw files, local or s3://, and yields sequences, lazily.

Motion: `amass.py`, `amc.py` (CMU), `bvh.py`, `deepmimic.py`. Skeletons other than SMPL's become a
`SkeletonMotion` (`skeleton.py`), whose joints are matched by name (`rigs.py`) and carried over to
SMPL's pose (`retarget.py`). What all of them share, from listing files to cutting out glitches
(`plausible.py`) and finding the floor (`ground.py`), is in `conversion.py`.
"""
