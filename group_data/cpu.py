"""No card: two small models on the processor, to try everything out."""

require_gpu = False
instances = {
    "coder": {"model": "qwen2.5-coder:1.5b", "gpus": [], "port": 11434, "context": 8192},
    "reasoner": {"model": "deepseek-r1:1.5b", "gpus": [], "port": 11435, "context": 8192},
}
