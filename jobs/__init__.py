"""Everything that runs on Ray, one file per job."""
