"""Judging synthetic rows: quality, privacy and bias, on one page."""
