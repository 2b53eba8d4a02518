"""A fake Hugging Face Hub on loopback: the routes that `huggingface_hub` needs to push and load.

It keeps repositories in memory, transfers large files by LFS as the Hub does, and like the Hub it
hides private repositories from clients without the token.
"""

import base64
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

TOKEN = "hf_fake"
LARGE = (".safetensors", ".bin", ".pkl")  # transferred by LFS, whatever their size
Files = dict[str, bytes]


@dataclass
class Repository:
    """A repository: branches by name, commits by id; a commit is a mapping of all its files."""

    is_private: bool
    is_gated: bool = False
    refusal: tuple[int, str] | None = None  # status and message of the answer to each request
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    cards: list[dict[str, Any]] = field(default_factory=list)

    def commit(self, branch: str, files: Files) -> str:
        name = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
        self.branches[branch], self.commits[name] = name, files
        return name

    def find(self, revision: str) -> str | None:
        name = self.branches.get(revision, revision)
        return name if name in self.commits else None

    @property
    def files(self) -> Files:
        return self.commits[self.branches["main"]]


@dataclass
class Hub:
    """The state of the fake Hub.

    Attributes:
        url: Its address.
        repositories: Repositories by `owner/name`.
        damaged: Paths whose downloads have a flipped bit.
        is_down: Whether it answers every request with 503.
        requests: All requests so far, such as "GET /owner/name/resolve/main/x".
        objects: LFS objects by SHA-256.
    """

    url: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    is_down: bool = False
    requests: list[str] = field(default_factory=list)
    objects: dict[str, bytes] = field(default_factory=dict)

    def add(self, name: str, files: Files, **how: Any) -> Repository:
        repository = Repository(**{"is_private": False} | how)
        repository.commit("main", files)
        self.repositories[name] = repository
        return repository

    def environment(self, home: Any, *, token: str | None = TOKEN) -> dict[str, str]:
        """Return the environment of a client with its own home folder."""
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
        return own | {"HF_TOKEN": token or ""}


@contextmanager
def running() -> Iterator[Hub]:
    """Run a fake Hub in this process."""
    hub = Hub()
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class RefusedError(Exception):
    """An error response with the Hub's error code."""

    def __init__(self, status: int, code: str = "", message: str = ""):
        super().__init__(message or code)
        self.status, self.code = status, code


def _is_large(path: str) -> bool:
    return path.endswith(LARGE)


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Print no log."""

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        try:
            if self.hub.is_down:
                raise RefusedError(503, message="Down for a while")
            for pattern, action in ROUTES:
                if found := re.fullmatch(pattern, f"{self.command} {path}"):
                    return action(self, body, **found.groupdict())
            raise RefusedError(404, message=f"The fake Hub has no {self.command} {path}")
        except RefusedError as refusal:
            headers = {"X-Error-Code": refusal.code, "X-Error-Message": str(refusal)}
            self._send({"error": str(refusal)}, status=refusal.status, headers=headers)

    def _send(self, answer: Any, *, status: int = 200, headers: Any = None) -> None:
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    @property
    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _require_login(self) -> None:
        if not self._is_known:
            raise RefusedError(401, message="Invalid username or password.")

    def _repository(self, name: str) -> Repository:
        repository = self.hub.repositories.get(name)
        if repository is None or (repository.is_private and not self._is_known):
            raise RefusedError(
                404 if self._is_known else 401, "RepoNotFound", "Repository not found"
            )
        if repository.refusal:
            raise RefusedError(repository.refusal[0], message=repository.refusal[1])
        return repository

    def _commit(self, name: str, revision: str) -> tuple[str, Files]:
        repository = self._repository(name)
        found = repository.find(revision)
        if found is None:
            raise RefusedError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return found, repository.commits[found]

    def create(self, body: bytes) -> None:
        self._require_login()
        request = json.loads(body)
        name = f"{request['organization']}/{request['name']}"
        if request["organization"] == "others":
            raise RefusedError(403, message="You don't have the rights to create a model there")
        status = 409 if name in self.hub.repositories else 200
        if status == 200:
            is_private = request.get("visibility") == "private" or bool(request.get("private"))
            attributes = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
            self.hub.add(name, {".gitattributes": attributes}, is_private=is_private)
        self._send({"url": f"{self.hub.url}/{name}"}, status=status)

    def validate(self, body: bytes) -> None:
        card = json.loads(body)["content"]
        _, head, _ = card.split("---\n", 2)
        if not isinstance(yaml.safe_load(head), dict):
            raise RefusedError(400, message="No metadata")
        self._send({"errors": [], "warnings": []})

    def info(self, body: bytes, name: str, revision: str = "main") -> None:
        found, files = self._commit(name, revision)
        repository = self.hub.repositories[name]
        siblings = [{"rfilename": path} for path in files]
        answer = {"id": name, "modelId": name, "sha": found, "private": repository.is_private}
        self._send(answer | {"tags": [], "siblings": siblings, "downloads": 0, "likes": 0})

    def tree(self, body: bytes, name: str, revision: str) -> None:
        _, files = self._commit(name, revision)
        assert parse_qs(urlsplit(self.path).query).get("recursive"), "only one folder was requested"
        self._send([_entry(path, data) for path, data in files.items()])

    def preupload(self, body: bytes, name: str, revision: str) -> None:
        self._require_login()
        _, files = self._commit(name, revision)
        paths = [each["path"] for each in json.loads(body)["files"]]
        modes = [
            {
                "path": path,
                "uploadMode": "lfs" if _is_large(path) else "regular",
                "shouldIgnore": False,
                "oid": _object_id(path, files[path]) if path in files else None,
            }
            for path in paths
        ]
        self._send({"files": modes})

    def batch(self, body: bytes, name: str) -> None:
        self._require_login()
        upload = {"header": {}, "href": f"{self.hub.url}/lfs/"}
        answers = [
            each
            if each["oid"] in self.hub.objects
            else each | {"actions": {"upload": upload | {"href": upload["href"] + each["oid"]}}}
            for each in json.loads(body)["objects"]
        ]
        self._send({"transfer": "basic", "objects": answers})

    def put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.objects[oid] = body
        self._send({})

    def branch(self, body: bytes, name: str, branch: str) -> None:
        self._require_login()
        repository = self._repository(name)
        if branch in repository.branches:
            raise RefusedError(409, message="Reference already exists")
        repository.branches[branch] = repository.branches["main"]
        self._send({})

    def commit(self, body: bytes, name: str, revision: str) -> None:
        self._require_login()
        _, files = self._commit(name, revision)
        files = dict(files)
        for line in body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
                case "deletedFile":
                    del files[value["path"]]
        made = self.hub.repositories[name].commit(revision, files)
        url = f"{self.hub.url}/{name}/commit/{made}"
        self._send({"commitUrl": url, "commitOid": made, "hookOutput": ""})

    def resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        found, files = self._commit(name, revision)
        if self.hub.repositories[name].is_gated:
            raise RefusedError(403, "GatedRepo", "Access to this model is restricted")
        if path not in files:
            raise RefusedError(404, "EntryNotFound", "Entry not found")
        data = files[path]
        headers = {"X-Repo-Commit": found, "ETag": f'"{_object_id(path, data)}"'}
        if path in self.hub.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self._send(data, headers=headers)


def _object_id(path: str, data: bytes) -> str:
    if _is_large(path):
        return hashlib.sha256(data).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, Any]:
    oid = _object_id(path, data)
    entry = {"type": "file", "path": path, "size": len(data), "oid": oid}
    if _is_large(path):
        entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
    return entry


NAME, REVISION = r"(?P<name>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
ROUTES = [
    ("POST /api/repos/create", _Handler.create),
    ("POST /api/validate-yaml", _Handler.validate),
    (f"GET /api/models/{NAME}", _Handler.info),
    (f"GET /api/models/{NAME}/revision/{REVISION}", _Handler.info),
    (f"GET /api/models/{NAME}/tree/{REVISION}", _Handler.tree),
    (f"POST /api/models/{NAME}/preupload/{REVISION}", _Handler.preupload),
    (f"POST /api/models/{NAME}/commit/{REVISION}", _Handler.commit),
    (f"POST /api/models/{NAME}/branch/(?P<branch>[^/]+)", _Handler.branch),
    (rf"POST /{NAME}\.git/info/lfs/objects/batch", _Handler.batch),
    ("PUT /lfs/(?P<oid>[0-9a-f]{64})", _Handler.put),
    (rf"(?:HEAD|GET) /{NAME}/resolve/{REVISION}/(?P<path>.+)", _Handler.resolve),
]
