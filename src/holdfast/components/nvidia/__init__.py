"""The NVIDIA driver: from nothing to in use, right for the machine's cards; a machine without cards is left alone."""
