"""The tailnet: the only way in from outside."""
