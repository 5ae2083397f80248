"""What `colorize train` is made of: photographs prepared as shards, their order, the loop, the end of a run."""
