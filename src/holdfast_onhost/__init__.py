"""Programs that run on the workstation: the standard library only, Python 3.10 and newer."""
