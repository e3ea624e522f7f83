"""As much of the Hugging Face hub as an upload needs, on this computer: an HTTP server that keeps what it is given."""

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FakeHub:
    """`files` are those of the last commit, by path; `status` is what every request is answered with, if not 200."""

    def __init__(self, status=200):
        self.status, self.files, self.requests, self.tokens = status, {}, [], set()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.requests.append(self.path)
                hub.tokens.add(self.headers.get("Authorization"))
                answer = json.dumps(hub.answer(self.path, content)).encode()
                self.send_response(hub.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, content):
        """What the hub says to a request."""
        if self.status != 200:
            return {"error": "no"}
        if path == "/api/repos/create":
            asked = json.loads(content)
            name = f"{asked.get('organization', 'me')}/{asked['name']}"
            return {"url": f"{self.address}/{name}", "name": name, "id": "1"}
        if path.endswith("/preupload/main"):
            files = json.loads(content)["files"]
            return {"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]}
        if path.endswith("/commit/main"):
            lines = [json.loads(line) for line in content.splitlines()]
            added = [line["value"] for line in lines if line["key"] == "file"]
            self.files = {file["path"]: base64.b64decode(file["content"]) for file in added}
            page = path.removeprefix("/api/models/").removesuffix("/commit/main")
            return {"commitUrl": f"{self.address}/{page}/commit/1", "commitOid": "1" * 40, "pullRequestUrl": None}
        return {"errors": [], "warnings": []}  # a card's front matter is validated

    def close(self):
        self.server.shutdown()
        self.server.server_close()
