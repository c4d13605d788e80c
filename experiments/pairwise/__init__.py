"""Blind pairwise judgement: which of two systems' responses to the same context is better.

`draw` makes a study from the systems' responses, `server` lets people judge it in a browser, `judge` lets a large
model, `statistics` and `report` say what the judgements show.
"""
