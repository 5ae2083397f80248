"""The review page with a server of its own, on this machine: colours by hint at once, decisions on disk."""
