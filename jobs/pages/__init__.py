"""What people look at: the review page, evaluations, contact sheets."""
