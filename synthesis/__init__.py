"""Dialogues written by language models: engines, prompts, Reflexion and a store that loses nothing."""
