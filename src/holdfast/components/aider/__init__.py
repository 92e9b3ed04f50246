"""Aider for the login user: the reasoner plans, the coder edits, a human authorizes each edit."""
