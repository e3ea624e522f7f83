"""All that is known of one adapter as HTML. Whatever comes from a file is escaped."""

from collections.abc import Mapping
from html import escape

from sdlora.adapters.collection import Item
from sdlora.adapters.inspection import Inspection
from sdlora.files import size_text

from .cards import PLACES, chips, picture, shown
from .pictures import address

MOST_TAGS, MOST_KEYS = 30, 50


def head(item: Item) -> str:
    """Picture, name and the way to the file."""
    problem = item.listed.summary.problem
    place = "" if item.own or item.folder in PLACES else f'<p class="place">In {shown(str(item.folder))}</p>'
    return (
        f'<div class="head">{picture(item)}<div><h2>{shown(item.id)}</h2><p class="words">{shown(item.trigger)}</p>'
        f'<p class="chips">{chips(item)}</p>{place}{alert(problem)}'
        f'<a class="download" download href="{escape(address("file", item))}">Download the file</a></div></div>'
    )


def inspected(found: Inspection) -> str:
    """What looking through the whole file has told."""
    adapter = found.adapter
    rows = {
        "Format": adapter.report.format,
        "Kind": found.kinds_told,
        "Made for": " ".join(filter(None, (adapter.family, adapter.geometry and f"({adapter.geometry})"))),
        "Modules": str(len(adapter.updates)),
        "Rank": str(found.ranks or ""),
        "Alpha": str(found.alphas or ""),
        "Precision": found.dtypes_told,
        "Size": size_text(found.size),
        "Learned tokens": ", ".join(f"{token} ({count})" for token, count in found.tokens.items()),
        "Trigger words": adapter.trigger or "",
        "Tags": ", ".join(f"{tag} ({count})" for tag, count in list(found.tags.items())[:MOST_TAGS]),
        "Strength": _strength(found),
    }
    rows |= {title[:1].upper() + title[1:]: value for title, value in found.facts.items()}
    parts = [*map(alert, found.warnings), _table(rows), _blocks(found), _hashes(found)]
    if unknown := adapter.report.unknown:
        more = f"<li>and {len(unknown) - MOST_KEYS} more</li>" if len(unknown) > MOST_KEYS else ""
        keys = "".join(f"<li>{shown(key)}</li>" for key in unknown[:MOST_KEYS])
        parts.append(f"<details><summary>Keys that are not understood</summary><ul>{keys}{more}</ul></details>")
    return "".join(parts)


def alert(sentence: str) -> str:
    """What its user should know; "" for no sentence."""
    return f'<p class="alert" role="note">{shown(sentence)}</p>' if sentence else ""


def _table(rows: Mapping[str, str]) -> str:
    told = "".join(f"<dt>{shown(title)}</dt><dd>{shown(value)}</dd>" for title, value in rows.items() if value)
    return f'<dl class="facts">{told}</dl>'


def _blocks(found: Inspection) -> str:
    """How strong the adapter is in each block, as bars; without a strength, how many modules each has."""
    strengths = {name: block.delta for name, block in found.strength.blocks.items()} if found.strength else {}
    values = strengths or {name: float(count) for name, count in found.blocks.items()}
    if not values:
        return ""
    largest = max(values.values()) or 1.0
    rows = "".join(
        f'<tr><th scope="row">{shown(name)}</th><td>{found.blocks.get(name, 0)}</td>'
        f'<td><span class="bar" style="width: {100 * value / largest:.1f}%"></span>'
        f"<span>{f'{value:.3g}' if strengths else ''}</span></td></tr>"
        for name, value in values.items()
    )
    title = "‖ΔW‖" if strengths else ""
    return (
        "<details><summary>By block</summary><table><thead><tr>"
        f'<th scope="col">block</th><th scope="col">modules</th><th scope="col">{title}</th>'
        f"</tr></thead><tbody>{rows}</tbody></table></details>"
    )


def _hashes(found: Inspection) -> str:
    if not (hashes := found.hashes):
        return ""
    stated = {None: "the header states none", True: "as the header says", False: "the header says another"}
    rows = {
        "AutoV2": hashes.autov2,
        "A1111's": f"{hashes.short} ({stated[hashes.stated_is_right]})",
        "Tensors' sha256": hashes.tensors,
        "File's sha256": hashes.sha256,
    }
    return f"<details><summary>Hashes</summary>{_table(rows)}</details>"


def _strength(found: Inspection) -> str:
    if found.strength is None:
        return found.strength_missing.replace("give --base", "which is not at hand here")
    return f"‖ΔW‖ {found.strength.total.delta:.4g}"
