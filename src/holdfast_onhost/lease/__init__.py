"""Instances of Ollama that share GPUs take turns: one kernel lock a GPU, held by whoever runs a llama-server on it.

`supervisor.py` stands where Ollama starts llama-server and owns the real one; the other modules are one idea each.
"""
