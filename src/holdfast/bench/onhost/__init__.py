"""What runs on the machine while it is measured: standard library only, Python 3.10+, never installed there."""
