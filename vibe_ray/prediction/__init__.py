"""From a video to its people: who is in it, how they move, and files of that.

`job.predict_people` is the way through: tracks (`video/`), estimates (`estimate.py`), motions
(`refine.py`); `outputs.predict_video` writes them, `many.py` does so for many videos.
"""
