"""Rows out to annotators and back: tasks for Label Studio, Argilla and plain tables; rounds, overlap, adjudication."""
