"""The metadata of an adapter that the algebra made."""

from collections.abc import Sequence

from ..adapter import Adapter
from ..formats.metadata import BASE_VERSION
from ..updates import Update


def of_merged(adapters: Sequence[Adapter], updates: dict[str, Update]) -> dict[str, str]:
    """What all of them say alike, all their trigger words, and where it comes from."""
    first, *others = (adapter.metadata for adapter in adapters)
    alike = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    triggers = dict.fromkeys(adapter.trigger for adapter in adapters if adapter.trigger)
    named = {"modelspec.trigger_phrase": ", ".join(triggers)} if triggers else {}
    return of_resized(alike, updates) | named | {"modelspec.merged_from": ", ".join(a.name for a in adapters)}


def of_resized(metadata: dict[str, str], updates: dict[str, Update]) -> dict[str, str]:
    """The metadata with the ranks that the adapter has now: one number, or `Dynamic` as sd-scripts writes."""
    ranks = {str(update.rank) for update in updates.values() if update.rank is not None}
    alphas = {str(update.alpha) for update in updates.values() if update.alpha is not None}
    stated = {"ss_network_dim": ranks, "ss_network_alpha": alphas}
    kept = {key: value for key, value in metadata.items() if key not in stated}
    return kept | {key: found.pop() if len(found) == 1 else "Dynamic" for key, found in stated.items() if found}


def of_family(family: str) -> dict[str, str]:
    """What other programs tell an adapter's family by."""
    version, architecture = BASE_VERSION[family, "epsilon"]
    said = {"ss_base_model_version": version, "ss_v2": str(family == "sd2"), "ss_network_module": "networks.lora"}
    return said | {"modelspec.sai_model_spec": "1.0.1", "modelspec.architecture": architecture}
