"""Serving over HTTP: the wire format and the application. No Ray."""
