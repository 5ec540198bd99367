"""HTTP on Ray Serve: the wire format, the application, and its deployment."""
