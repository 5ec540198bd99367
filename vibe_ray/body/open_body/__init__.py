"""The open body in SMPL's format, built from CC0 MakeHuman data: the file and its builder."""
