"""Programs that run on the workstation itself: standard library only, Python 3.10 and later."""
