"""What the models learn from: rows, readers, splits, mixes and batches."""
