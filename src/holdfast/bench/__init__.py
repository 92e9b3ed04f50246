"""How fast a machine really is, and whether that is what its cards allow.

``onhost`` runs on the machine (standard library only, sent by stdin) and brings back what it saw; everything else here
judges that: pure, but for ``session``, which starts it.
"""
