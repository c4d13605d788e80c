"""The page and the endpoints of `python cli.py serve`."""
