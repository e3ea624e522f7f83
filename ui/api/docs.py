"""`/docs`: the API as a plain page. FastAPI's own page loads its scripts from a server on the internet."""

from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
summary { cursor: pointer; padding: .3rem 0; }
summary code { font-weight: 600; }
summary code span { display: inline-block; min-width: 3.5rem; color: teal; }
table { border-collapse: collapse; margin: .5rem 0 1rem 1rem; font-size: .9rem; }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #8884; }
"""


def docs_page(schema: dict[str, Any]) -> str:
    """HTML of an OpenAPI document: every route with what it takes."""
    info = schema["info"]
    routes = "".join(
        _route(method, path, told, schema)
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style>"
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>"
        f'<p>{escape(info.get("description", ""))} For programs: <a href="openapi.json">openapi.json</a>.</p>{routes}'
    )


def _route(method: str, path: str, told: dict[str, Any], schema: dict[str, Any]) -> str:
    fields = "".join(_fields(told, schema))
    table = f"<table><tr><th>field<th>type<th>default<th>{fields}</table>" if fields else ""
    return (
        f"<details><summary><code><span>{method.upper()}</span> {escape(path)}</code> "
        f"{escape(told.get('description') or told.get('summary', ''))}</summary>{table}</details>"
    )


def _fields(told: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    for parameter in told.get("parameters", ()):
        yield _field(parameter["name"], parameter["schema"])
    content = told.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    for name, about in _resolved(content, schema).get("properties", {}).items():
        yield _field(name, about)


def _resolved(about: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = about.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = schema["components"]["schemas"][name] if name else about
    return found


def _field(name: str, about: dict[str, Any]) -> str:
    cells = (name, _type(about), about.get("default", ""), about.get("description", ""))
    return "<tr>" + "".join(f"<td>{escape(str(cell))}" for cell in cells)


def _type(about: dict[str, Any]) -> str:
    if "anyOf" in about:
        return " or ".join(_type(option) for option in about["anyOf"])
    name = about.get("$ref", "").rpartition("/")[2] or about.get("type", "")
    limits = (("minimum", "from"), ("maximum", "to"), ("maxLength", "characters up to"))
    return " ".join([name, *(f"{word} {about[key]}" for key, word in limits if key in about)])
