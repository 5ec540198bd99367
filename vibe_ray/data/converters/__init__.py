"""One module per source of motion or captures; each turns raw files into shards."""
