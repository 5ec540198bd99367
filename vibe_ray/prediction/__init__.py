"""From a video to its people: who is in it, how they move, and files of that."""
