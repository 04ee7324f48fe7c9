"""How fast the extraction is: against what the original does, and against two libraries for the same purpose.

Writes  bench/extraction.csv, bench/extraction.png   (on CUDA: extraction-cuda.csv, extraction-cuda.png)
Run     uv run --group bench bench/extraction.py                    (nano and mid)
        uv run --group bench bench/extraction.py --size tiny-aya    (true shape, random weights, 8 GB)

One run: every method reads the same sentences with the same model, in turns, three times; medians. The
sentences are spread evenly over the lengths of nano-aya's manifest, in its tokens. A slow method reads a
part of them, spread as evenly, so that rates compare. `share_of_peak` is the arithmetic of the blocks'
matrices over time, against the fastest of a few plain matrix products in the same run; what a method does
besides (the head) earns it nothing. `worst_error` is the largest relative error of a state at the last
token, against fp32 at batch 1 (at the true shape, which has no fp32 row here, against its own dtype at
batch 1). Memory is the peak above what is resident once the model is loaded, results included.
"""

import argparse
import copy
import gc
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import model_loader
from probe import cli
from probe.files import write_bytes
from probe.models import extract as reading
from probe.paths import REPOSITORY
from probe.stimuli.manifest import load_manifest

ROUNDS = 3
SHAPES = {
    "mid": {"hidden_size": 1024, "intermediate_size": 5504, "num_hidden_layers": 12},
    "tiny-aya": {"hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36},
}
TEXTS = {"nano": 512, "mid": 400, "tiny-aya": 64}
PART = {"nano": 4, "mid": 20, "tiny-aya": 8}  # a slow method reads one in so many
DTYPES = {
    "nano": ("float32", "bfloat16"),
    "mid": ("float32", "bfloat16", "float16"),
    "tiny-aya": ("bfloat16",),
}
REFERENCE = "per sentence, with the head"
OURS, THEIRS = "#0072B2", "#BBBBBB"

States = list[np.ndarray]  # per text, (n_states, d_model): raw states at the last token


@dataclass
class Case:
    """A causal model, and sentences for it."""

    size: str
    dtype: str
    model: object
    tokenizer: object
    texts: list[str]

    @property
    def device(self):
        return next(self.model.parameters()).device

    def ids(self, text: str) -> torch.Tensor:
        return torch.tensor([self.tokenizer(text)["input_ids"]], device=self.device)


def with_head(case: Case) -> States:
    """All hidden states and the logits, one sentence at a time, as the original. The last state is normed."""
    kept = []
    for text in case.texts:
        with torch.no_grad():
            output = case.model(case.ids(text), output_hidden_states=True)
        kept.append(np.stack([h[0, -1].float().cpu().numpy() for h in output.hidden_states]))
    return kept


def without_head(case: Case) -> States:
    kept = []
    for text in case.texts:
        with torch.inference_mode():
            output = case.model.model(case.ids(text), output_hidden_states=True, use_cache=False)
        kept.append(np.stack([h[0, -1].float().cpu().numpy() for h in output.hidden_states]))
    return kept


def ours(case: Case) -> Callable[[], States]:
    body = case.model.model
    budget = reading.tuned_budget(body, case.tokenizer, case.texts)
    return lambda: list(model_loader.extract(body, case.tokenizer, case.texts, None, budget).resid["last"])


def own_copy(model):
    """The model's modules copied, on the same weights: both libraries change the modules they wrap."""
    return copy.deepcopy(model, {id(weight): weight for weight in model.parameters()})


def transformer_lens(case: Case) -> Callable[[], States]:
    """`run_with_cache` of the residual stream, as its documentation shows it."""
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    bridge = build_bridge_from_module(
        own_copy(case.model), "Cohere2ForCausalLM", hf_config=case.model.config, tokenizer=case.tokenizer
    )
    n_layers = case.model.config.num_hidden_layers
    names = ["blocks.0.hook_resid_pre", *(f"blocks.{layer}.hook_resid_post" for layer in range(n_layers))]

    def run() -> States:
        kept = []
        for text in case.texts:
            with torch.no_grad():
                _, cache = bridge.run_with_cache(case.ids(text), names_filter=names)
            kept.append(np.stack([cache[name][0, -1].float().cpu().numpy() for name in names]))
        return kept

    return run


def nnsight(case: Case) -> Callable[[], States]:
    from nnsight import NNsight, save

    wrapped = NNsight(own_copy(case.model))

    def run() -> States:
        kept = []
        for text in case.texts:
            with torch.no_grad(), wrapped.trace(case.ids(text)):
                states = save([wrapped.model.layers[0].input])
                for layer in wrapped.model.layers:
                    states.append(layer.output)
            kept.append(np.stack([state[0, -1].float().cpu().numpy() for state in states]))
        return kept

    return run


METHODS: dict[str, Callable[[Case], Callable[[], States]]] = {
    REFERENCE: lambda case: lambda: with_head(case),
    "per sentence, without the head": lambda case: lambda: without_head(case),
    "TransformerLens": transformer_lens,
    "nnsight": nnsight,
    "ours": ours,
}


def random_model(size: str, dtype: str, device: str):
    """Cohere2 in Tiny Aya's proportions, of random weights, made in its dtype on its device."""
    from transformers import AutoModelForCausalLM, Cohere2Config

    if size == "nano":
        folder = REPOSITORY / "organism" / "base"
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        return model.to(device).eval()
    config = Cohere2Config(
        **SHAPES[size],
        vocab_size=262144,
        num_attention_heads=16,
        num_key_value_heads=4,
        sliding_window=4096,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        logit_scale=1.0,
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype))
    model.tie_weights()
    model = model.to_empty(device=device)
    generator = torch.Generator(device).manual_seed(0)
    for name, weight in model.named_parameters():
        if "norm" in name:
            torch.nn.init.ones_(weight)
        else:
            weight.data.normal_(0, 0.02, generator=generator)
    body = model.model
    body.rotary_emb = type(body.rotary_emb)(config).to(device)  # its buffers were on meta
    model.tie_weights()
    return model.eval()


def sentences(tokenizer, n: int) -> list[str]:
    manifest = load_manifest(REPOSITORY / "organism" / "stimulus_manifest.json", "nano-aya")
    texts = sorted((s.text for s in manifest.probes + manifest.parallel), key=lambda t: (len(t), t))
    return [texts[int(i)] for i in np.linspace(0, len(texts) - 1, n)]


def seconds(run: Callable[[], object], device) -> float:
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def gemm_peak(dtype: str, shape: dict, device) -> float:
    """Floating-point operations a second: the fastest of a few matrix products of the model's shapes."""
    rates = []
    for n_tokens in (256, 1024, 4096):
        rows = torch.randn(n_tokens, shape["hidden_size"], device=device).to(getattr(torch, dtype))
        weight = torch.randn(shape["intermediate_size"], shape["hidden_size"], device=device).to(rows.dtype)
        product = lambda rows=rows, weight=weight: torch.nn.functional.linear(rows, weight)  # noqa: E731
        seconds(product, device)
        fastest = min(seconds(product, device) for _ in range(7))
        rates.append(2 * rows.numel() * weight.shape[0] / fastest)
    return max(rates)


def peak_memory(run: Callable[[], object], device) -> tuple[float, object]:
    """MiB that `run` adds at its peak to what is resident before it, and its result."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        result = run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20, result
    Path("/proc/self/clear_refs").write_text("5")  # Linux: forget the high-water mark
    before = _resident("VmRSS")
    result = run()
    return (_resident("VmHWM") - before) / 2**10, result


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(name))


def worst_error(found: States, expected: States) -> float:
    """Over texts and the states before the last, which some methods give after the norm."""
    errors = [
        np.linalg.norm(a[:-1] - b[:-1], axis=-1) / np.linalg.norm(b[:-1], axis=-1)
        for a, b in zip(found, expected, strict=True)
    ]
    return float(np.max(errors))


def measure(size: str, dtype: str, device: str, exact: States | None) -> tuple[list[dict], States]:
    """The rows of one model and dtype, and its reference states. `exact`: those in fp32, of the same part."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(REPOSITORY / "organism" / "base")
    model = random_model(size, dtype, device)
    whole = Case(size, dtype, model, tokenizer, sentences(tokenizer, TEXTS[size]))
    part = Case(size, dtype, model, tokenizer, whole.texts[PART[size] // 2 :: PART[size]])
    on_cpu = device == "cpu"
    names = [REFERENCE] if dtype == "float16" and on_cpu else list(METHODS)
    runs = {name: METHODS[name](whole if name == "ours" else part) for name in names}
    memory, states = {}, {}
    for name, run in runs.items():  # this also warms up
        memory[name], states[name] = peak_memory(run, whole.device)
    times = {name: [] for name in names}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name].append(seconds(run, whole.device))
    states["ours"] = states.get("ours", [])[PART[size] // 2 :: PART[size]]
    exact = exact or states[REFERENCE]
    shape = SHAPES.get(size, {"hidden_size": 128, "intermediate_size": 352})
    peak = gemm_peak(dtype, shape, whole.device)
    in_blocks = sum(weight.numel() for weight in model.model.layers.parameters() if weight.dim() == 2)
    rows = []
    for name in names:
        case = whole if name == "ours" else part
        n_tokens = sum(len(tokenizer(text)["input_ids"]) for text in case.texts)
        taken = statistics.median(times[name])
        rows.append(
            {
                "size": size,
                "dtype": dtype,
                "method": name,
                "texts": len(case.texts),
                "tokens": n_tokens,
                "seconds": round(taken, 3),
                "tokens_per_s": round(n_tokens / taken, 1),
                "peak_memory_mib": round(memory[name]),
                "share_of_peak": round(2 * in_blocks * n_tokens / taken / peak, 3),
                "worst_error": float(f"{worst_error(states[name], exact):.2g}"),
                "gemm_peak_gflops": round(peak / 1e9),
            }
        )
    return rows, states[REFERENCE]


def ratios(table: pd.DataFrame) -> pd.Series:
    """How many times as fast ours is: in the same dtype, or, where it refuses float16, in bfloat16."""
    rate = table[table.method == "ours"].set_index(["size", "dtype"]).tokens_per_s
    own = [
        rate.get((size, dtype), rate.get((size, "bfloat16")))
        for size, dtype in zip(table["size"], table["dtype"], strict=True)
    ]
    return (pd.Series(own, index=table.index) / table.tokens_per_s).round(2)


def figure(table: pd.DataFrame, path: Path) -> None:
    from matplotlib.figure import Figure

    groups = [
        ((size, dtype), rows.iloc[::-1])
        for (size, dtype), rows in table.groupby(["size", "dtype"], sort=False)
    ]
    groups = [(name, rows) for name, rows in groups if "ours" in set(rows.method)]
    figure = Figure(figsize=(3.2 * len(groups) + 1.6, 2.5), layout="constrained")
    for axis, ((size, dtype), rows) in zip(
        figure.subplots(1, len(groups), squeeze=False)[0], groups, strict=True
    ):
        axis.barh(
            rows.method, rows.tokens_per_s, color=[OURS if m == "ours" else THEIRS for m in rows.method]
        )
        for place, (rate, ratio) in enumerate(zip(rows.tokens_per_s, rows.ours_faster_by, strict=True)):
            label = f" {rate:,.0f}" + ("" if ratio == 1 else f" (ours: {ratio:.1f} x)")
            axis.annotate(label, (rate, place), va="center", fontsize=7)
        axis.set_xlim(0, rows.tokens_per_s.max() * 1.5)
        axis.set_title(f"{size}, {dtype}", fontsize=9)
        axis.set_xlabel("tokens a second", fontsize=8)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
        if rows is not groups[0][1]:
            axis.set_yticklabels([])
    figure.savefig(path, dpi=150, metadata={"Software": None})


def work(args: argparse.Namespace) -> None:
    device = model_loader.pick_device(args.device)
    suffix = "" if device == "cpu" else f"-{device.split(':')[0]}"
    path = REPOSITORY / "bench" / f"extraction{suffix}.csv"
    rows = []
    for size in args.size:
        exact = None
        for dtype in DTYPES[size]:
            found, reference = measure(size, dtype, device, exact)
            exact = exact or reference if dtype == "float32" else exact
            rows += found
            print(pd.DataFrame(found).to_string(index=False), flush=True)
            gc.collect()
    table = pd.DataFrame(rows)
    if path.exists():  # other sizes, of another run
        before = pd.read_csv(path)
        table = pd.concat([before[~before["size"].isin(args.size)], table], ignore_index=True)
    table["ours_faster_by"] = ratios(table)
    write_bytes(path, table.to_csv(index=False).encode())
    figure(table, path.with_suffix(".png"))
    print(path)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", nargs="+", choices=list(TEXTS), default=["nano", "mid"])
    parser.add_argument("--device", help="cuda, mps or cpu (default: the best there is)")
    parser.add_argument("--verbose", action="store_true")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), work, argv)


if __name__ == "__main__":
    sys.exit(main())
