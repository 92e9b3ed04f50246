#!/usr/bin/python3
"""models_sweep.py SETTINGS: what no declared model needs leaves the store: models, blobs, unfinished downloads.

SETTINGS as for models_pull.py.  Refuses (exit code 1) while a declared model is not there: it may be what is in service.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable
from typing import Any

if __package__ in (None, ""):  # run by its path: let the package be found
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from holdfast_onhost import models_manifest
from holdfast_onhost.fetch_errors import FetchError
from holdfast_onhost.models_pull import declared
from holdfast_onhost.models_store import Store, blobs_of


def sweep(settings: dict[str, Any], say: Callable[[str], object] = lambda text: None) -> int:
    """Removes it; returns the bytes that this freed.  Names go first: no server offers a model that is half there."""
    store, keep, names = Store(settings["store"]), set(), set()
    with store.alone():
        for model in declared(settings):
            raw = store.manifest(model.name)
            if raw is None or models_manifest.digest(raw) != model.digest:
                raise FetchError(
                    f"{model.text} is not in the store; nothing was removed", "./holdfast up HOST fetches it first"
                )
            names.add(model.name.path)
            keep |= {"sha256-" + blob.hex for blob in blobs_of(model.text, raw)}
        root, freed = os.path.join(store.path, "manifests"), 0
        for folder, _, files in os.walk(root, topdown=False):
            for file in files:
                if (name := os.path.relpath(os.path.join(folder, file), root)) not in names:
                    os.unlink(os.path.join(folder, file))
                    say(f"removed the model {name}")
            with contextlib.suppress(OSError):  # not empty
                if folder != root:
                    os.rmdir(folder)
        for folder, kept in ((os.path.join(store.path, "blobs"), keep), (store.work, {"lock", "checked.json"})):
            for entry in list(os.scandir(folder)):
                if entry.name not in kept and entry.is_file(follow_symlinks=False):
                    freed += entry.stat(follow_symlinks=False).st_size
                    os.unlink(entry.path)
        store.forget_others({name.partition("-")[2] for name in keep})
        say(f"{freed} bytes are free again")
    return freed


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="models_sweep.py", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("settings", metavar="SETTINGS", help="JSON file, see the head of models_pull.py")
    given = parser.parse_args(arguments)
    try:
        with open(given.settings, encoding="utf-8") as file:
            sweep(json.load(file), print)
    except FetchError as error:
        print(error.render(), file=sys.stderr)
        return error.code
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"error: {error!r}\nFix: ./holdfast up HOST writes {given.settings} anew", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
