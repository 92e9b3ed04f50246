"""One folder a component: options.py, deploy.py, facts.py, operations.py (those that are needed)."""
