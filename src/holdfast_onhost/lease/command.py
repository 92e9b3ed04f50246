"""The command line with which Ollama wants llama-server, and the one with which the real one is started."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from holdfast_onhost.lease.refusal import Refused

# All that Ollama 0.32.15 gives llama-server and that can move a model or make it larger than planned
# (llm/llama_server.go, startLlamaServer).  Each has one word after it.
#
# option                    from                       here
# fmt: off
_LAYERS = ("-ngl", "--gpu-layers", "--n-gpu-layers")  # num_gpu of a client: dropped for "all"; 0, the CPU, is refused
_SPLIT = ("-sm", "--split-mode")                      # main_gpu, or Ollama's idea that one GPU would do: dropped
_MAIN = ("-mg", "--main-gpu", "-dev", "--device")     # the same; nobody has computed that the model fits on one
_CONTEXT = ("-c",)                                    # num_ctx of a client × slots: at most HOLDFAST_CONTEXT
_BATCH = ("-b", "-ub")                                # num_batch, or Ollama's idea of free VRAM: at most HOLDFAST_BATCH
# fmt: on
# Left as they are, because no client can say them:
#   -np                     OLLAMA_NUM_PARALLEL        the unit's, planned; and -c is over all slots
#   --cache-type-k, -v      OLLAMA_KV_CACHE_TYPE       the unit's, planned
#   --flash-attn            OLLAMA_FLASH_ATTENTION     the unit's, planned
#   --mmproj, --lora,       the model's own layers     part of the model that the unit was planned for
#   --spec-draft-model
#   --embedding             the model's own kind       its -b is left alone too: a whole input must fit into it
# … or because they take no VRAM: -t (num_thread), --load-mode (use_mmap), --keep (num_keep),
# --spec-draft-n-max (draft_num_predict), --no-mmproj-offload, --image-min-tokens, templates and logs.
_DROPPED = (*_LAYERS, *_SPLIT, *_MAIN)

# Where the context is full, llama-server forgets half of it and goes on.  With a quantized cache it may crash there instead:
# segmentation fault of llama.cpp b11669 with q8_0 and q4_0; like ggml-org/llama.cpp#5652, #9383.  Without this word the answer is
# whole and ends there, with done_reason "length"; a prompt that is too long Ollama shortens by itself, and before.
_SHIFT = "--context-shift"
_SHIFTS_WELL = ("f32", "f16", "bf16")


@dataclass(frozen=True)
class Plan:
    """What a model may take; 0: no limit."""

    context: int = 0  # tokens over all slots
    batch: int = 0  # tokens computed at once
    gpus: bool = False  # whether all layers go to GPUs


def value(argv: Sequence[str], option: str) -> str:
    """The word after `option`."""
    try:
        return argv[list(argv).index(option) + 1]
    except (ValueError, IndexError):
        raise Refused(
            f"Ollama started llama-server without {option}: {' '.join(argv)}",
            "this release of Ollama is not the one that Holdfast was made for: ./holdfast up HOST installs that",
        ) from None


def number(argv: Sequence[str], option: str, otherwise: int) -> int:
    """The number after `option`; `otherwise` where it is not given."""
    if option not in argv:
        return otherwise
    try:
        return int(value(argv, option))
    except ValueError:
        raise Refused(
            f"Ollama started llama-server with {option} {value(argv, option)!r}",
            "leave it out of the request's options",
        ) from None


def real(argv: Sequence[str], socket_path: str, plan: Plan) -> list[str]:
    """`argv` for the child: on a unix socket, with no more than planned, and, where GPUs are, with the model on them.

    A client may ask for any num_ctx and num_batch; what it gets must fit the GPU.  A prompt that is longer than the
    context is then refused by llama-server with 400 exceed_context_size_error.  Raises Refused.
    """
    out = _on_the_gpus(argv) if plan.gpus else list(argv)
    if "--cache-type-k" in out and value(out, "--cache-type-k") not in _SHIFTS_WELL:
        out = [word for word in out if word != _SHIFT]
    out[out.index("--host") + 1] = socket_path  # llama-server takes a host that ends in .sock as a path
    for option in _CONTEXT:
        _at_most(out, option, plan.context)
    if "--embedding" not in argv:
        for option in _BATCH:
            _at_most(out, option, plan.batch)
    return out


def _at_most(out: list[str], option: str, limit: int) -> None:
    """Not given, and 0, mean llama-server's own default, which may be more."""
    asked = number(out, option, 0)
    if not limit or 0 < asked <= limit:
        return
    if option in out:
        out[out.index(option) + 1] = str(limit)
    else:
        out += [option, str(limit)]


def _on_the_gpus(argv: Sequence[str]) -> list[str]:
    """`argv` with all layers on all planned GPUs, whatever num_gpu or main_gpu a client asked for.  Raises Refused.

    Ollama hands on num_gpu as "-ngl N", which outdoes LLAMA_ARG_N_GPU_LAYERS; for 0 it gives no GPU's library either, so
    that only the CPU is left.
    """
    out: list[str] = []
    words = iter(argv)
    for word in words:
        if word not in _DROPPED:
            out.append(word)
        elif next(words, "") == "0" and word in _LAYERS:
            raise Refused(
                "a client asked for the CPU (option num_gpu: 0), and this instance has GPUs to run on",
                "leave num_gpu out of the request's options",
            )
    return [*out, "-ngl", "all"]


def loaded_with(argv: Sequence[str]) -> dict[str, Any]:
    """The fields of a request that Ollama answers with the runner it has started with `argv`, and does not load anew.

    All of api.Runner as far as `argv` tells: not use_mmap: true, draft_num_predict without a draft, nor which one of
    several GPUs main_gpu was.  num_ctx is not among them: Ollama corrects it after the load, and tells (/api/ps).
    """
    options: dict[str, Any] = {"num_gpu": -1, "num_thread": number(argv, "-t", 0)}  # -1: whatever it was loaded with
    for option, name in (("-b", "num_batch"), ("--main-gpu", "main_gpu"), ("--spec-draft-n-max", "draft_num_predict")):
        if option in argv:
            options[name] = number(argv, option, 0)
    if "--load-mode" in argv and value(argv, "--load-mode") == "none":
        options["use_mmap"] = False
    return {"options": options, "shift": _SHIFT in argv}
