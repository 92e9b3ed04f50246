"""Aider for everybody who logs in: the reasoner plans, the coder edits, a human authorizes each edit."""
