"""A PostgreSQL server for one test, with a password in its address."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "keeper"


def program(name: str) -> str | None:
    """Return the path of a server program; on Debian these are not on PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))


@contextmanager
def server(password: str) -> Iterator[str]:
    """Start a server. Yield its address without the name of a database."""
    initdb, pg_ctl = program("initdb"), program("pg_ctl")
    assert initdb is not None
    assert pg_ctl is not None
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="knobs-postgres-"))
    (folder / "password").write_text(password)
    for path in (folder, folder / "password"):
        os.chown(path, user.pw_uid, user.pw_gid)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    data = str(folder / "data")

    def run(*command: str) -> None:
        group = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
        done = subprocess.run(
            command, cwd=folder, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, **group
        )
        assert done.returncode == 0, done.stderr or done.stdout

    run(initdb, "-D", data, "-U", USER, "-A", "scram-sha-256", "--pwfile", str(folder / "password"), "--no-sync")
    run(pg_ctl, "-D", data, "-o", options, "-l", str(folder / "log"), "-w", "start")
    try:
        yield f"postgresql://{USER}:{password}@127.0.0.1:{port}"
    finally:
        run(pg_ctl, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(folder)


def files_that_hold(secret: str, *roots: Path) -> list[Path]:
    """Return every file under these folders that contains the secret."""
    wanted = secret.encode()
    files = (path for root in roots for path in root.rglob("*") if path.is_file())
    return [path for path in files if wanted in path.read_bytes()]
