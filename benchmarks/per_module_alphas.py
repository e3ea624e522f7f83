"""A Kohya file whose alphas differ from module to module, by hand, in sdlora and in diffusers' loader, side by side.

`python -m benchmarks.per_module_alphas` writes `benchmarks/results/per_module_alphas.md` in a minute. Every third
module of a full-target SD 1.5 file has alpha 2, the others 8, all rank 8. By hand means in fp64: alpha / rank · up ·
down. The base's own weights play no part, so their memory stays untouched.
"""

import argparse
import re
import tempfile
from collections import defaultdict
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from sdlora.adapters import load_adapter, save_adapter, tables
from sdlora.bases.geometry import family_config
from sdlora.bases.networks import build_text_encoder, build_unet
from sdlora.files import write_text

from .machine import machine

RESULTS = Path(__file__).parent / "results" / "per_module_alphas.md"
RANK, USUAL_ALPHA, OTHER_ALPHA = 8, 8.0, 2.0
GROUPS = {
    "UNet, attention": r"unet\..*\.attn[12]\.to_\w+(\.0)?",
    "UNet, feed-forward": r"unet\..*\.ff\.net\..*",
    "UNet, projections in and out": r"unet\..*\.proj_(in|out)",
    "text encoder, attention": r"text_encoder\..*\.self_attn\.\w+_proj",
    "text encoder, feed-forward": r"text_encoder\..*\.mlp\.fc\d",
}
HEADING = """# Alphas that differ from module to module

One Kohya file of full targets on SD 1.5, rank {rank}: every third module has alpha {other:g}, the others {usual:g}. The
relative error ‖ΔW − right‖ / ‖right‖ (Frobenius, the largest of each group), right being alpha / rank · up · down in
fp64; 3.0 is four times too strong. "diffusers" is what diffusers' loader makes of the Kohya file; "converted" is that
loader again, with the file that sdlora writes of it in diffusers' format.
{machine}.

| modules | alpha | how many | sdlora | diffusers | diffusers, converted |
| --- | --- | --- | --- | --- | --- |
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    alphas = alphas_by_path()
    with tempfile.TemporaryDirectory() as folder:
        kohya, converted = Path(folder) / "kohya.safetensors", Path(folder) / "diffusers.safetensors"
        right = write_kohya_file(kohya, alphas)
        save_adapter(load_adapter(kohya), converted, "diffusers", dtype=None)
        errors = {
            "sdlora": errors_of(ours(kohya), right),
            "diffusers": errors_of(in_diffusers(kohya), right),
            "converted": errors_of(in_diffusers(converted), right),
        }
    rows = []
    for group, pattern in GROUPS.items():
        for alpha in (USUAL_ALPHA, OTHER_ALPHA):
            paths = [path for path in alphas if re.fullmatch(pattern, path) and alphas[path] == alpha]
            worst = [max(found[path] for path in paths) for found in errors.values()]
            rows.append(f"| {group} | {alpha:g} | {len(paths)} | {' | '.join(f'{value:.1e}' for value in worst)} |")
    facts = {"rank": RANK, "usual": USUAL_ALPHA, "other": OTHER_ALPHA, "machine": machine("diffusers", "peft")}
    text = HEADING.format(**facts) + "\n".join(rows) + "\n"
    print(text)
    write_text(chosen.out, text)


def alphas_by_path() -> dict[str, float]:
    """All 192 + 72 modules, every third of each group with the other alpha."""
    found, seen = {}, defaultdict(int)
    for path in tables.shapes("sd15"):
        for group, pattern in GROUPS.items():
            if re.fullmatch(pattern, path):
                seen[group] += 1
                found[path] = OTHER_ALPHA if seen[group] % 3 == 0 else USUAL_ALPHA
    return found


def write_kohya_file(file: Path, alphas: dict[str, float]) -> dict[str, Tensor]:
    """The file, and each module's ΔW by hand in fp64, as a matrix."""
    names, shapes = tables.names_by_path("sd1"), tables.shapes("sd15")
    generator = torch.Generator().manual_seed(0)
    tensors, right = {}, {}
    for path, alpha in alphas.items():
        outputs, *inputs = shapes[path]
        down = torch.randn(RANK, *inputs, generator=generator)
        up = torch.randn(outputs, RANK, *(1,) * (len(inputs) - 1), generator=generator)
        tensors[f"{names[path]}.lora_down.weight"], tensors[f"{names[path]}.lora_up.weight"] = down, up
        tensors[f"{names[path]}.alpha"] = torch.tensor(alpha)
        right[path] = alpha / RANK * (up.double().flatten(1) @ down.double().flatten(1))
    save_file(tensors, file)
    return right


def ours(file: Path) -> dict[str, Tensor]:
    shapes = tables.shapes("sd15")
    return {path: update.delta(torch.zeros(shapes[path])) for path, update in load_adapter(file).updates.items()}


@torch.no_grad()
def in_diffusers(file: Path) -> dict[str, Tensor]:
    """What PEFT's layers add once diffusers has loaded the file into SD 1.5's networks."""
    config = family_config("sd1")
    with torch.device("meta"):
        unet, text_encoder = build_unet(config["unet"]), build_text_encoder(config["text_encoders"][0], 0)
    networks: dict[str, nn.Module] = {
        "unet": unet.to_empty(device="cpu"),
        "text_encoder": text_encoder.to_empty(device="cpu"),
    }
    weights, alphas, metadata = StableDiffusionPipeline.lora_state_dict(file, return_lora_metadata=True)
    how = {"network_alphas": alphas, "metadata": metadata, "adapter_name": "made", "low_cpu_mem_usage": True}
    StableDiffusionPipeline.load_lora_into_unet(weights, unet=unet, **how)
    StableDiffusionPipeline.load_lora_into_text_encoder(weights, text_encoder=text_encoder, **how)
    found = {}
    for component, network in networks.items():
        for name, layer in network.named_modules():
            if hasattr(layer, "get_delta_weight"):
                flat = component == "text_encoder" and not name.startswith("text_model.")
                found[f"{component}.{'text_model.' if flat else ''}{name}"] = layer.get_delta_weight("made")
    return found


def errors_of(found: dict[str, Tensor], right: dict[str, Tensor]) -> dict[str, float]:
    """Relative errors by module path; 1 for a module that got nothing."""
    return {
        path: float((found[path].double().flatten(1) - delta).norm() / delta.norm()) if path in found else 1.0
        for path, delta in right.items()
    }


if __name__ == "__main__":
    main()
