"""The NVIDIA driver: what the machine has, in one look."""
