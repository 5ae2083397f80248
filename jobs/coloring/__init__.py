"""What `colorize archive` is made of: what is to do, the pool of workers, a photograph's way through a worker."""
