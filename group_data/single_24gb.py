"""One 24 GB card: coder and a smaller reasoner take turns on it."""

card = "rtx-3090"
instances = {
    "coder": {"model": "qwen2.5-coder:32b", "gpus": ["card"], "port": 11434},
    "reasoner": {"model": "deepseek-r1:32b", "gpus": ["card"], "port": 11435},
}
