"""Real human motion that may be redistributed, small enough to ship."""
