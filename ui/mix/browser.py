"""What the browser does by itself: keep the page through a reload, keys, undo."""

from pathlib import Path

KEY = "sdlora-mix-1"  # another number when the fields change
# sessionStorage is the tab's own: two tabs never mix up, and a reload finds it again.
RESTORE = f"() => [sessionStorage.getItem('{KEY}') || '']"
KEEP = f"(...values) => {{ if (window.sdloraMix) sessionStorage.setItem('{KEY}', JSON.stringify(values)); }}"
BEGIN = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
