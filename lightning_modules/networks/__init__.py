"""Plain torch modules; no Lightning here."""
