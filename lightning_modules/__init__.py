"""What learns: one LightningModule a task."""
