"""Files, listings, the catalogue: everything that is read from and written to storage. Knows nothing of Ray."""
