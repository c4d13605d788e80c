"""Around training: records, predictions, progress."""
