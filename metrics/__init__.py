"""How well: torchmetrics classes and the statistics around them."""
