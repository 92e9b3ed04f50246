"""The models: which ones, from where, by which digests, and the program on the machine that fetches them."""
