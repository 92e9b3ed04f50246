"""The store: its mode, a manifest, a blob, the puller, the servers' view of it."""

from __future__ import annotations

from tests.lab.sabotage.kind import Sabotage

_LIBRARY = "/var/lib/holdfast/models/manifests/registry.ollama.ai/library"

SABOTAGES = [
    Sabotage(
        "the store may be written by a group", 1,
        "chmod 0775 /var/lib/holdfast/models",
        {"test_models.py::test_store_is_roots_and_servers_may_read_it": "0775"},
    ),
    Sabotage(
        "the puller no longer starts by itself", 1,
        "systemctl --quiet disable holdfast-models.service",
        {"test_models.py::test_puller_starts_by_itself_and_has_nothing_left_to_do": "disabled"},
    ),
    Sabotage(
        "one model's name leads to another model", 2,
        f"cat {_LIBRARY}/qwen2.5-coder/32b > {_LIBRARY}/deepseek-r1/70b",
        {
            "test_models.py::test_manifests_are_the_pinned_ones": "deepseek-r1:70b",
            "test_ollama.py::test_each_model_answers": "reasoner says 'I am the coder model .'",
        },
    ),
    Sabotage(
        "a model's file is gone", 1,
        # The smallest one: its server goes on with what it has read.
        "ls -Sr /var/lib/holdfast/models/blobs/sha256-* | head -n 1 | xargs rm",
        {"test_models.py::test_every_model_is_whole": "missing or of the wrong size"},
    ),
    Sabotage(
        "servers may write the store", 3,
        "sed -i -e '/^ReadOnlyPaths=/d' -e '/^ProtectSystem=/d' /etc/systemd/system/ollama@.service",
        {"test_models.py::test_servers_cannot_write_the_store": "the store is mounted writable"},
        ("ollama@coder", "ollama@reasoner"),
    ),
]  # fmt: skip
