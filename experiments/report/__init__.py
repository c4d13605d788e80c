"""What runs and experiments show: one page, its figures, and a model card."""
