"""Everything that imports Ray: clusters, training on workers, streams, searches, serving.

Nothing below this room can reach Ray: `--workers 0`, and every test of what is learned or measured,
runs without it.
"""
