"""What is learned and how: an update, the state it changes, and the loop around it. No Ray."""
