"""What the lab's two models say, and under which names: stand-ins for the real ones, with the same capabilities.

Ollama renders the GGUF's own Jinja template.  It reads the capabilities from it as well: "tools" occurs in the
coder's, so that it has [completion, tools]; `<think>` and `</think>` in the reasoner's, so that it has [completion,
thinking] and refuses tools as DeepSeek R1 does ("does not support tools").
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from holdfast.lab.models import chain, tiny_gguf

CODER_SAYS = "I am the coder model ."
REASONER_SAYS = "I am the reasoner model ."
REASONER_THINKS = "The human wants to know who I am."

# Both edits are about hello.py and start from `def greet():\n    return 1`.
_WHOLE_EDIT = (
    "I return 42 now.\n\nhello.py\n```\n"
    'def greet():\n    """Say the answer."""\n    return 42\n\n\nif __name__ == "__main__":\n    print(greet())\n```\n'
)
_DIFF_EDIT = (
    "A small change:\n\nhello.py\n```python\n"
    "<<<<<<< SEARCH\n    return 1\n=======\n    return 43\n>>>>>>> REPLACE\n```\n"
)
_PLAN = (
    "<think>\nThe human wants 42.\n</think>\n\nIn hello.py let greet() return 42 and print it when run as a program.\n"
)

# Asked for a very long story, both go on until they are stopped: speed is measured with that.
_STORY = {"story": ("wave", "wind")}
_STORY_ASKED = "{% if m['content'] and 'very long story' in m['content'] %}{% set ns.k = 'story' %}{% endif %}"
_STORY_BEGINS = "{% if ns.k == 'story' %}<|story|>"

_TURNS = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
# llama-server splits the thinking from the answer only if earlier thinking is rendered in the same tags.
_THINKING_TURNS = (
    "{% for m in messages %}{{ m['role'] }}: {% if m['role'] == 'assistant' and m['reasoning_content'] %}"
    "<think>\n{{ m['reasoning_content'] }}\n</think>\n\n{% endif %}{{ m['content'] }}\n{% endfor %}"
)
# "SEARCH/REPLACE" and "file listing" are how Aider's prompts name its diff and whole formats; "architect" its planner.
_CODER_TEMPLATE = (
    "{% set ns = namespace(k='talk') %}{% for m in messages %}"
    "{% if m['content'] and 'SEARCH/REPLACE' in m['content'] %}{% set ns.k = 'diff' %}"
    "{% elif m['content'] and 'file listing' in m['content'] and ns.k == 'talk' %}{% set ns.k = 'whole' %}"
    "{% endif %}"
    + _STORY_ASKED
    + "{% endfor %}{% if tools %}tools: {{ tools }}\n{% endif %}"
    + _TURNS
    + "assistant:"
    + _STORY_BEGINS
    + "{% elif ns.k == 'diff' %}<|diff|>{% elif ns.k == 'whole' %}<|whole|>{% else %}<|talk|>{% endif %}"
)
_REASONER_TEMPLATE = (
    "{% set ns = namespace(k='talk') %}{% for m in messages %}"
    "{% if m['content'] and 'architect' in m['content'] %}{% set ns.k = 'plan' %}{% endif %}"
    + _STORY_ASKED
    + "{% endfor %}"
    + _THINKING_TURNS
    + "assistant:"
    + _STORY_BEGINS
    + "{% elif ns.k == 'plan' %}<|plan|>{% else %}<|talk|>{% endif %}"
)


@dataclass(frozen=True)
class Role:
    """A role of the workstation: the model's real name, what tells it apart, and its capabilities in the real world."""

    name: str
    model: str
    says: str
    capabilities: tuple[str, ...]


CODER = Role("coder", "qwen2.5-coder:32b", CODER_SAYS, ("completion", "tools"))
REASONER = Role("reasoner", "deepseek-r1:70b", REASONER_SAYS, ("completion", "thinking"))
ROLES = (CODER, REASONER)


def write_coder(path: Path) -> None:
    """Talks as the coder; answers Aider's "whole" and "diff" prompts with edits of hello.py."""
    texts = {"talk": CODER_SAYS, "whole": _WHOLE_EDIT, "diff": _DIFF_EDIT}
    tiny_gguf.write(path, "lab-coder", chain.answers(texts, "talk", _STORY), _CODER_TEMPLATE)


def write_reasoner(path: Path) -> None:
    """Thinks, then talks as the reasoner; plans the same edit when Aider calls it as an architect."""
    texts = {"talk": f"<think>\n{REASONER_THINKS}\n</think>\n\n{REASONER_SAYS}", "plan": _PLAN}
    tiny_gguf.write(path, "lab-reasoner", chain.answers(texts, "talk", _STORY), _REASONER_TEMPLATE)


def write_loop(path: Path, words: tuple[str, ...] = ("tick", "tock")) -> None:
    """Talks until num_predict or the client ends it: for tests that need a generation long enough to be cut."""
    tiny_gguf.write(path, "lab-loop", chain.loop(words), _TURNS + "assistant:")
