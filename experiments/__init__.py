"""Series of runs and what they show; people who judge what models write."""
