"""Ollama: one server for each role, and the leases by which they take turns on the cards."""
