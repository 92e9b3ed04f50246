"""The command line with which Ollama wants llama-server, and the one with which the real one is started."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_onhost.lease.refusal import Refused


def value(argv: Sequence[str], option: str) -> str:
    """The word after `option`."""
    try:
        return argv[list(argv).index(option) + 1]
    except (ValueError, IndexError):
        raise Refused(
            f"Ollama started llama-server without {option}: {' '.join(argv)}",
            "this release of Ollama is not the one that Holdfast was made for: ./holdfast up HOST installs that",
        ) from None


def real(argv: Sequence[str], socket_path: str, context: int) -> list[str]:
    """`argv` for the child: on a unix socket, and with no more context (tokens over all slots) than planned.

    A client may ask for any num_ctx; what it gets must fit the GPU.  A prompt that is longer is then refused by
    llama-server with 400 exceed_context_size_error.
    """
    out = list(argv)
    out[out.index("--host") + 1] = socket_path  # llama-server takes a host that ends in .sock as a path
    if context and "-c" in out:
        place = out.index("-c") + 1
        asked = int(out[place])
        if asked == 0 or asked > context:
            out[place] = str(context)
    return out
