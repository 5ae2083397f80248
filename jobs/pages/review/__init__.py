"""The review page: what writes it, and its HTML, CSS and JavaScript as they are."""
