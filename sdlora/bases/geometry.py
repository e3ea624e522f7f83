"""Which known network a base is, by its widths."""

from collections.abc import Mapping
from typing import Any

# (block_out_channels, cross_attention_dim) of the UNets that have a name.
_WIDTHS = {
    ((320, 640, 1280, 1280), 768): "sd15",
    ((320, 640, 1280, 1280), 1024): "sd2",
    ((320, 640, 1280), 2048): "sdxl",
    ((64, 96, 128, 128), 160): "mini",
}


def geometry_of(unet_config: Mapping[str, Any]) -> str:
    """`sd15`, `sd2`, `sdxl` or `mini`; `custom` for any other widths."""
    return _WIDTHS.get((tuple(unet_config["block_out_channels"]), unet_config["cross_attention_dim"]), "custom")
