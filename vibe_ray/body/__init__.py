"""The body: joint names, SMPL parameters, the mesh, and its joints without a mesh."""
