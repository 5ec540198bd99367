"""What a run leaves in its folder: its name's claim, log and checkpoints; weights in and out."""
