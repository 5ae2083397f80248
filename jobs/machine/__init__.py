"""What of this machine there is to use: what was granted, and room in the memory that processes share."""
