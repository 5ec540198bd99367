"""HTTP on Ray Serve."""
