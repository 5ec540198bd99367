"""One adversarial update, the state it changes, and the Ray Train loop around it."""
