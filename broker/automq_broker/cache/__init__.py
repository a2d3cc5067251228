"""Hot bytes within budgets: the tail that was just written, and blocks read back from the bucket."""
