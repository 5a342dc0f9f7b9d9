"""A server that stands for the hub, for tests that need one to answer."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from tests.end_to_end.processes import environment


class FakeHub(BaseHTTPRequestHandler):
    """What `huggingface_hub` and `datasets` ask, answered from a folder: `someone/pets` is all there is."""

    folder: Path
    asked: ClassVar[list[str]] = []
    lost: ClassVar[list[None]] = []
    """One for each part of a file that will be refused before one is given again."""

    sent: ClassVar[list[int]] = []
    """Bytes of each part of a file that was given."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        sha = "0" * 40
        if path == "/api/datasets/someone/pets" or path.startswith("/api/datasets/someone/pets/revision/"):
            self.answer(json.dumps({"id": "someone/pets", "sha": sha, "siblings": []}).encode())
        elif tree := re.fullmatch(f"/api/datasets/someone/pets/tree/(?:main|{sha})/?(.*)", path):
            self.answer_tree(self.folder / tree[1], is_deep="recursive=true" in self.path.lower())
        elif resolved := re.fullmatch(f"/datasets/someone/pets/resolve/(?:main|{sha})/(.+)", path):
            self.answer_file(self.folder / resolved[1], sha)
        else:
            self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)

    def answer_tree(self, folder: Path, is_deep: bool) -> None:
        entries = [
            {
                "type": "file" if entry.is_file() else "directory",
                "path": str(entry.relative_to(self.folder)),
                "size": entry.stat().st_size,
                "oid": f"{entry.name}-{entry.stat().st_mtime_ns}",
            }
            for entry in sorted(folder.rglob("*") if is_deep else folder.glob("*"))
        ]
        self.answer(json.dumps(entries).encode(), status=200 if folder.is_dir() else 404)

    def answer_file(self, file: Path, sha: str) -> None:
        if not file.is_file():
            self.answer(b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": sha}, status=404)
            return
        content, about = file.read_bytes(), {"ETag": f'"{file.name}"', "X-Repo-Commit": sha}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", "")):
            if self.lost and file.suffix == ".parquet":
                self.lost.pop()
                self.answer(b"{}", status=409)
                return
            self.sent.append(int(asked[2]) + 1 - int(asked[1]))
            first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
            about["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
            self.answer(content[first : last + 1], about, status=206)
        else:
            self.answer(content, about)

    def answer(self, content: bytes, headers: dict[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def fake_hub(tmp_path):
    """Give the environment of a process whose hub is a server of this test."""
    FakeHub.folder = tmp_path / "server"
    FakeHub.asked.clear()
    FakeHub.lost.clear()
    FakeHub.sent.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), FakeHub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    address = {"HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_OFFLINE": "0"}
    yield environment() | address | {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
    server.shutdown()
    thread.join()
    server.server_close()
