"""The blocks by which numbers of modules are summed up."""

import re

_UNET = re.compile(r"unet\.(down_blocks\.\d+|mid_block|up_blocks\.\d+)\.")


def block_of(path: str) -> str:
    """`unet.down_blocks.0`, `unet.mid_block`, …, `unet` for what lies outside of the blocks, or the text encoder."""
    match = _UNET.match(path)
    return f"unet.{match[1]}" if match else path.partition(".")[0]
