"""How exact a merge of four SD 1.5 adapters is: sdlora, PEFT, and adding the factors, against the sum in fp64.

`python -m benchmarks.merge_exactness` writes `benchmarks/results/merge_exactness.md` in a few minutes. The adapters are
full-target (264 modules), rank 16, with different alphas, random numbers. Files are written, read back, and compared.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from sdlora import algebra, load_adapter, save_adapter
from sdlora.adapters import Adapter
from sdlora.files import write_text

from .full_target import SHAPES, full_target
from .machine import machine

RESULTS = Path(__file__).parent / "results" / "merge_exactness.md"
RANK, ALPHAS, WEIGHTS = 16, (16.0, 8.0, 24.0, 1.0), (0.9, 0.7, 0.6, 0.8)
LIMIT, CONCATENATED = 1e-6, "sdlora, concatenated, fp32"
Deltas = Callable[[str], Tensor]  # ΔW of a module in fp64, (out, in)


def main() -> None:
    adapters = [full_target(f"adapter {n}", RANK, alpha, seed=n) for n, alpha in enumerate(ALPHAS)]
    merged = contenders(adapters)
    found = errors(adapters, {name: deltas for name, (deltas, _) in merged.items()})
    rows = [f"| {name} | {whole:.1e} | {worst:.1e} | {merged[name][1]} |" for name, (whole, worst) in found.items()]
    text = [
        "# Merging four adapters",
        "",
        f"SD 1.5, full-target ({len(SHAPES)} modules), rank {RANK}, alphas {ALPHAS}, weights {WEIGHTS}, random",
        "numbers. ‖merged − Σ wᵢΔWᵢ‖ / ‖Σ wᵢΔWᵢ‖ (Frobenius), in fp64, of what the saved file (or the PEFT model)",
        f"says. {machine('peft')}.",
        "",
        "| merged by | in all | worst module | |",
        "| --- | --- | --- | --- |",
        *rows,
        "",
        f"Asked for: sdlora, saved in fp32, at most {LIMIT:.0e}. fp16 and bf16 add the rounding of the file's own",
        "numbers, which comes with any adapter in half precision.",
        "",
    ]
    write_text(RESULTS, "\n".join(text))
    print("\n".join(text))
    if found[CONCATENATED][0] > LIMIT:
        raise SystemExit(1)


def contenders(adapters: list[Adapter]) -> dict[str, tuple[Deltas, str]]:
    """By name: the merged deltas, and a remark."""
    found: dict[str, tuple[Deltas, str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        merged, report = algebra.merge(adapters, WEIGHTS)
        for name, dtype in {CONCATENATED: "fp32", "the same, fp16": "fp16", "the same, bf16": "bf16"}.items():
            file = load_adapter(save_adapter(merged, Path(folder) / f"{dtype}.safetensors", dtype=dtype))
            found[name] = of_adapter(file), f"rank {len(adapters) * RANK}; it reports {report.relative:.1e}"
        small, report = algebra.merge(adapters, WEIGHTS, rank=RANK)
        file = load_adapter(save_adapter(small, Path(folder) / "small.safetensors", dtype="fp32"))
        found[f"sdlora, `rank={RANK}`, fp32"] = (
            of_adapter(file),
            f"the least possible; it reports {report.relative:.1e}",
        )
    found["adding the factors"] = added_factors(adapters), "(Σ wᵢ√sᵢ upᵢ)(Σ wᵢ√sᵢ downᵢ), sᵢ = alphaᵢ / rank"
    found["PEFT `linear`"] = of_peft(adapters, "linear"), "(Σ √(wᵢsᵢ) upᵢ)(Σ √(wᵢsᵢ) downᵢ)"
    found["PEFT `cat`"] = of_peft(adapters, "cat"), f"rank {len(adapters) * RANK}"
    return found


def errors(adapters: list[Adapter], merged: dict[str, Deltas]) -> dict[str, tuple[float, float]]:
    """Of each contender the relative error of all modules together, and the largest of one."""
    lost, worst, size = dict.fromkeys(merged, 0.0), dict.fromkeys(merged, 0.0), 0.0
    for path in SHAPES:
        exact = sum(w * of_adapter(adapter)(path) for w, adapter in zip(WEIGHTS, adapters, strict=True))
        norm = float(exact.norm())
        size += norm**2
        for name, deltas in merged.items():
            error = float((deltas(path) - exact).norm())
            lost[name] += error**2
            worst[name] = max(worst[name], error / norm)
    return {name: ((lost[name] / size) ** 0.5, worst[name]) for name in merged}


def of_adapter(adapter: Adapter) -> Deltas:
    def delta(path: str) -> Tensor:
        update = adapter.updates[path]
        return update.alpha / update.rank * (update.up.double().flatten(1) @ update.down.double().flatten(1))

    return delta


def added_factors(adapters: list[Adapter]) -> Deltas:
    def delta(path: str) -> Tensor:
        parts = [
            (w * (u.alpha / u.rank) ** 0.5, u)
            for w, u in zip(WEIGHTS, (a.updates[path] for a in adapters), strict=True)
        ]
        up = sum(scale * update.up.double().flatten(1) for scale, update in parts)
        return up @ sum(scale * update.down.double().flatten(1) for scale, update in parts)

    return delta


def of_peft(adapters: list[Adapter], combination: str) -> Deltas:
    """Merged by `add_weighted_adapter`, module by module, so that the layers beneath need no memory."""

    def delta(path: str) -> Tensor:
        shape = SHAPES[path]
        kind, kernel = (nn.Conv2d, {"kernel_size": 1}) if len(shape) == 4 else (nn.Linear, {})
        layer = nn.utils.skip_init(kind, shape[1], shape[0], bias=False, **kernel)
        for place, adapter in enumerate(adapters):
            config = LoraConfig(r=RANK, lora_alpha=adapter.updates[path].alpha, target_modules=["0"])
            if place == 0:
                model = get_peft_model(nn.Sequential(layer), config, adapter_name="0")
            else:
                model.add_adapter(str(place), config)
            own = model.base_model.model[0]
            own.lora_A[str(place)].weight.data = adapter.updates[path].down.clone()
            own.lora_B[str(place)].weight.data = adapter.updates[path].up.clone()
        model.add_weighted_adapter(
            [str(n) for n in range(len(adapters))], list(WEIGHTS), "merged", combination_type=combination
        )
        up, down = (part["merged"].weight.data.double().flatten(1) for part in (own.lora_B, own.lora_A))
        return own.scaling["merged"] * (up @ down)

    return delta


if __name__ == "__main__":
    with torch.no_grad():
        main()
