"""The command line with which Ollama wants llama-server, and the one with which the real one is started."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_onhost.lease.refusal import Refused

# Options of llama-server, each with one word after it, that say where a model goes.
_LAYERS = ("-ngl", "--gpu-layers", "--n-gpu-layers")
_PLACEMENT = (*_LAYERS, "-sm", "--split-mode", "-mg", "--main-gpu", "-dev", "--device")


def value(argv: Sequence[str], option: str) -> str:
    """The word after `option`."""
    try:
        return argv[list(argv).index(option) + 1]
    except (ValueError, IndexError):
        raise Refused(
            f"Ollama started llama-server without {option}: {' '.join(argv)}",
            "this release of Ollama is not the one that Holdfast was made for: ./holdfast up HOST installs that",
        ) from None


def real(argv: Sequence[str], socket_path: str, context: int, planned: bool) -> list[str]:
    """`argv` for the child: on a unix socket, with no more context (tokens over all slots) than planned, and, where GPUs
    are `planned`, with the model on them.

    A client may ask for any num_ctx; what it gets must fit the GPU.  A prompt that is longer is then refused by
    llama-server with 400 exceed_context_size_error.
    """
    out = on_the_gpus(argv) if planned else list(argv)
    out[out.index("--host") + 1] = socket_path  # llama-server takes a host that ends in .sock as a path
    if context and "-c" in out:
        place = out.index("-c") + 1
        asked = int(out[place])
        if asked == 0 or asked > context:
            out[place] = str(context)
    return out


def on_the_gpus(argv: Sequence[str]) -> list[str]:
    """`argv` with all layers on all planned GPUs, whatever num_gpu or main_gpu a client asked for.  Raises Refused.

    Ollama hands on num_gpu as "-ngl N", which outdoes LLAMA_ARG_N_GPU_LAYERS; for 0 it gives no GPU's library either, so
    that only the CPU is left.  main_gpu, or its own idea that one GPU would do, becomes "--split-mode none --main-gpu N",
    for which nobody has computed that it fits (llm/llama_server.go, server/sched.go).
    """
    out: list[str] = []
    words = iter(argv)
    for word in words:
        if word not in _PLACEMENT:
            out.append(word)
        elif next(words, "") == "0" and word in _LAYERS:
            raise Refused(
                "a client asked for the CPU (option num_gpu: 0), and this instance has GPUs to run on",
                "leave num_gpu out of the request's options",
            )
    return [*out, "-ngl", "all"]
