"""A Hugging Face hub on 127.0.0.1: the HTTP interface that models need, with failures on demand.

It creates repositories, accepts commits (large files by the LFS protocol before the commit), and serves files by revision
with the headers that huggingface_hub reads. Only one token can write, and read private repositories.
"""

import base64
import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants

TOKEN = "hf_aTokenOfTheTests"  # noqa: S105  of nothing but these tests
LARGE = 4096  # bytes from which on a file goes by LFS; ten megabytes there


@dataclass
class Repository:
    """Commits by name, newest last, each with its files; and the branches and tags."""

    private: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    by_lfs: set[str] = field(default_factory=set)

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        content = json.dumps([len(self.commits), *sorted(files)]).encode()
        name = hashlib.sha1(content, usedforsecurity=False).hexdigest()
        self.commits[name], self.refs[branch] = files, name
        return name


class Hub(ThreadingHTTPServer):
    """Repositories, recorded requests and the failures on demand.

    Attributes:
        status: What it answers to everything, if anything.
        harm: Called with a file's name and bytes before they are sent.
        sizes: Claimed bytes of files, where they are not the true ones.
        cut: Bytes missing at the end of each file, after its full length is sent.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.status: int | None = None
        self.harm = lambda _name, content: content
        self.cut = 0
        self.sizes: dict[str, int] = {}

    @property
    def address(self):
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Ignore clients that close the connection on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def do_GET(self):
        self._answer("GET", b"")

    def do_HEAD(self):
        self._answer("HEAD", b"")

    def do_POST(self):
        self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))

    def do_PUT(self):
        self.server.stored[self.path.rpartition("/")[2]] = self.rfile.read(
            int(self.headers["Content-Length"])
        )
        self._json({})

    def log_message(self, *_):
        """Print nothing."""

    def _answer(self, method, body):
        path = unquote(urlsplit(self.path).path)
        self.server.requests.append((method, path))
        if self.server.status:
            self._json({"error": "as configured"}, self.server.status)
            return
        routes = (
            (r"/api/repos/create", self._create),
            (r"/api/validate-yaml", self._validate),
            (r"/api/models/([^/]+/[^/]+)/preupload/([^/]+)", self._preupload),
            (r"/api/models/([^/]+/[^/]+)/commit/([^/]+)", self._commit),
            (r"/([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._batch),
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._info),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        )
        for pattern, route in routes:
            if found := re.fullmatch(pattern, path):
                route(body, *found.groups())
                return
        self._json({"error": f"no such route: {path}"}, 404)

    @property
    def _may_write(self):
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _create(self, body):
        request = json.loads(body)
        name = f"{request.get('organization') or 'me'}/{request['name']}"
        if not self._may_write:
            self._json({"error": "Invalid username or password."}, 401)
        elif name in self.server.repositories:
            at = f"{self.server.address}/{name}"
            self._json({"error": "You already created this model repo", "url": at}, 409)
        else:
            self.server.repositories[name] = made = Repository(request.get("visibility") == "private")
            made.commit({".gitattributes": b"*.onnx filter=lfs\n"})
            self._json({"url": f"{self.server.address}/{name}", "name": name})

    def _validate(self, body):
        head = json.loads(body)["content"].partition("---")[2].partition("---")[0]
        self._json({"errors": [], "warnings": [] if "license:" in head else [{"message": "no license"}]})

    def _preupload(self, body, name, _revision):
        if self._writable(name):
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["size"] >= LARGE else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._json({"files": files})

    def _batch(self, body, name):
        if self._writable(name):
            objects = json.loads(body)["objects"]
            at = f"{self.server.address}/lfs"
            objects = [
                {**one, "actions": {"upload": {"href": f"{at}/{one['oid']}", "header": {}}}}
                for one in objects
            ]
            self._json({"transfer": "basic", "objects": objects})

    def _commit(self, body, name, branch):
        if not self._writable(name):
            return
        made = self.server.repositories[name]
        files = dict(made.commits[made.refs[branch]])
        for line in filter(None, body.decode().splitlines()):
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.stored[value["oid"]]
                made.by_lfs.add(value["path"])
        commit = made.commit(files, branch)
        at = f"{self.server.address}/{name}/commit/{commit}"
        self._json({"commitUrl": at, "commitOid": commit, "success": True})

    def _info(self, _body, name, revision):
        if (found := self._readable(name, revision or "main")) is not None:
            commit, files = found
            siblings = [
                {"rfilename": path, "size": self.server.sizes.get(path, len(content))}
                for path, content in files.items()
            ]
            self._json({"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False})

    def _tree(self, _body, name, revision):
        if (found := self._readable(name, revision)) is not None:
            self._json(
                [
                    {"type": "file", "path": path, "size": len(content), "oid": _etag(content)}
                    for path, content in found[1].items()
                ]
            )

    def _resolve(self, _body, name, revision, path):
        if (found := self._readable(name, revision)) is None:
            return
        commit, files = found
        if path not in files:
            self._json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
            return
        content = self.server.harm(path, files[path])
        sent = content[: max(len(content) - self.server.cut, 0)]
        self.close_connection = True
        self.send_response(200)
        for header, value in (
            ("X-Repo-Commit", commit),
            ("ETag", f'"{_etag(files[path])}"'),
            ("Content-Length", len(content)),
            ("Connection", "close"),
        ):
            self.send_header(header, str(value))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(sent)

    def _readable(self, name, revision):
        made = self.server.repositories.get(name)
        if made is None or (made.private and not self._may_write):
            # As there: a request without a token does not learn whether it exists.
            status = 404 if self._may_write else 401
            self._json({"error": "Repository not found"}, status, {"X-Error-Code": "RepoNotFound"})
            return None
        commit = made.refs.get(revision, revision)
        if commit not in made.commits:
            self._json({"error": "Invalid rev id"}, 404, {"X-Error-Code": "RevisionNotFound"})
            return None
        return commit, made.commits[commit]

    def _writable(self, name):
        if self._may_write and name in self.server.repositories:
            return True
        self._json({"error": "not yours"}, 403 if self._may_write else 401)
        return False

    def _json(self, content, status=200, headers=None):
        body = json.dumps(content).encode()
        self.send_response(status)
        for header, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(header, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _etag(content):
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


def point_at(patch, address):
    """Set the endpoint as ``HF_ENDPOINT`` does, which the library reads at import."""
    patch.setattr(constants, "ENDPOINT", address)
    patch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    )


@contextmanager
def hub_at(cache):
    """Run a hub for huggingface_hub in this process, which caches downloads in ``cache``; no token is set."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            point_at(patch, server.address)
            # Xet is a protocol of its own, which is not played here.
            patch.setattr(constants, "HF_HUB_CACHE", str(cache))
            patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
            patch.setattr(constants, "HF_TOKEN_PATH", str(cache / "no token"))
            patch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
            patch.setenv("HF_TOKEN", "none")  # so that what a test sets is taken away, too
            patch.delenv("HF_TOKEN")
            yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
