"""Two 24 GB cards without NVLink: a fast coder on one, a deep reasoner over both (they take turns)."""

card = "rtx-3090"
instances = {
    "coder": {"model": "qwen2.5-coder:32b", "gpus": ["left"], "port": 11434},
    "reasoner": {"model": "deepseek-r1:70b", "gpus": ["left", "right"], "port": 11435},
}
