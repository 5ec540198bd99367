"""Pictures of bodies in software: no graphics card, no display, numpy alone.

`scene.render` draws meshes as a camera sees them, `scene.paint_over` lays the result over a
photograph or a frame of a video, and `rasterizer` finds the nearest triangle of each pixel.
"""
