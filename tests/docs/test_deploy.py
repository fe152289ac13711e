"""The files that people deploy with are sound, as far as they can be without a container engine."""

import configparser
import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

import interlock
from interlock.config import load
from interlock.stores.postgres import PostgresStore

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_passes_its_linter():
    done = run(str(BIN / "hadolint"), "--no-color", str(DEPLOY / "Dockerfile"))
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_installs_pinned_packages_and_runs_without_rights():
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    assert any("--no-deps -r requirements-serve.lock" in line for line in lines)
    assert [line for line in lines if line.startswith("USER")] == ["USER 10001"]
    locked = (ROOT / "requirements-serve.lock").read_text()
    assert "uvicorn==" in locked
    assert "pytest==" not in locked


def test_the_compose_file_is_one():
    done = run(str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_only_the_gateway_reaches_the_database():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    on_inside = {name for name, service in compose["services"].items() if "inside" in service["networks"]}
    assert on_inside == {"db", "gateway"}
    assert compose["networks"]["inside"] == {"internal": True}
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["proxy"]


def test_the_gateways_user_in_the_database_is_bound_by_row_level_security(postgres, tmp_path, caplog):
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert "POSTGRES_USER" not in compose["services"]["db"]["environment"]  # the superuser is not the gateway's
    assert "./role.sql:/docker-entrypoint-initdb.d/role.sql:ro" in compose["services"]["db"]["volumes"]
    password, script = tmp_path / "password", tmp_path / "role.sql"
    password.write_text("it's one")
    text = (DEPLOY / "role.sql").read_text().replace("/run/secrets/gateway_password", str(password))
    script.write_text(text.replace("interlock", "deployed"))
    psql = str(postgres.binaries / "psql")
    done = run(psql, "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-f", str(script), postgres.url)
    assert (done.returncode, done.stderr) == (0, "")
    url = postgres.url_of("deployed", "deployed")
    try:
        with closing(PostgresStore(url)) as store:
            assert store.tenants() == []
        assert caplog.messages == []
    finally:
        postgres.drop_database(url)
        run(psql, "-c", "DROP ROLE deployed", postgres.url)


def test_the_example_config_loads_and_allows_nothing():
    config = load(DEPLOY / "interlock.yaml")
    assert config.ledger.startswith("postgresql://")
    with interlock.open({"ledger": "memory:", "policy": {"allow": []}}) as gateway:
        assert config.policy.version == gateway.config.policy.version


@pytest.mark.parametrize("option", ["NoNewPrivileges", "ProtectSystem", "PrivateTmp", "RestrictSUIDSGID"])
def test_the_unit_gives_no_rights_away(option):
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str
    unit.read(DEPLOY / "interlock.service")
    assert unit["Service"][option] in ("yes", "strict")
    assert unit["Service"]["User"] == "interlock"
    assert unit["Service"]["ExecStart"].startswith("/opt/interlock/bin/interlock serve ")


def test_systemd_understands_the_unit(tmp_path):
    text = (DEPLOY / "interlock.service").read_text().replace("/opt/interlock/bin/interlock", "/bin/true")
    unit = tmp_path / "interlock.service"
    unit.write_text(text)
    assert "ExecStart=/bin/true serve" in text
    if shutil.which("systemd-analyze"):  # where there is none, its options were looked at above
        done = run("systemd-analyze", "verify", "--man=no", str(unit))
        assert (done.returncode, done.stderr) == (0, "")


# --- what they start -------------------------------------------------------------------------------------------------


def words(line, **places):
    """A command of one of the files, with its absolute places exchanged for those of a test."""
    for place, here in {"/opt/interlock/bin": BIN, "0.0.0.0": "127.0.0.1", **places}.items():
        line = line.replace(place, str(here))
    return shlex.split(line)


def docker(instruction):
    """The words of an instruction of the Dockerfile: ENTRYPOINT, CMD, or the CMD of its health check, which is
    indented."""
    text = (DEPLOY / "Dockerfile").read_text()
    return json.loads(re.search(rf"^{instruction} (\[.*\])$", text, re.MULTILINE)[1])


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


def configured(folder, port, ledger):
    """A config in a folder like /etc/interlock, and one like /var/lib/interlock."""
    (folder / "etc").mkdir()
    (folder / "state").mkdir(mode=0o700)
    state = folder / "state"
    said = {
        "ledger": ledger.replace("/var/lib/interlock", str(state)), "serve": {"port": port}, "policy": {"allow": []},
        "audit": {"key": f"{state}/audit.key", "checkpoints": f"{state}/audit.checkpoints"},
    }
    (folder / "etc" / "interlock.yaml").write_text(json.dumps(said))
    return folder / "etc" / "interlock.yaml"


def healthy(port):
    """What the image's health check says."""
    command = [word.replace(":8420/", f":{port}/") for word in docker("  CMD")]
    assert command[0] == "python"
    return run(sys.executable, *command[1:]).returncode == 0


def served(command, folder, port, **environ):
    """Start it, wait until it is healthy, end it as a supervisor would; what it has said."""
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            command, cwd=folder / "state", stdout=said, stderr=said, env={"PATH": f"{BIN}:/usr/bin", **environ},
        )
        give_up = time.monotonic() + 60
        while not healthy(port):
            assert process.poll() is None, (folder / "said").read_text()
            assert time.monotonic() < give_up
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert not healthy(port)
    return (folder / "said").read_text()


def a_first_key(folder):
    """As the documentation says."""
    text = (ROOT / "docs" / "deploy.md").read_text()
    line = re.search(r"sudo -u interlock (/opt/interlock/bin/interlock keys create .*)", text)[1]
    done = run(*words(line, **{"/etc/interlock": folder / "etc"}))
    assert done.returncode == 0, done.stderr


def test_the_units_command_serves_and_ends_as_it_should(tmp_path, port):
    unit = configparser.ConfigParser(interpolation=None, strict=True)
    unit.optionxform = str
    unit.read(DEPLOY / "interlock.service")
    configured(tmp_path, port, "sqlite:////var/lib/interlock/interlock.db")
    a_first_key(tmp_path)
    said = served(words(unit["Service"]["ExecStart"], **{"/etc/interlock": tmp_path / "etc"}), tmp_path, port)
    assert f"http://127.0.0.1:{port}/" in said
    assert "ilk_" not in said  # there was a key: none is in the journal
    assert int(unit["Service"]["TimeoutStopSec"]) > 30  # longer than calls in flight have
    assert [file.name for file in (tmp_path / "etc").iterdir()] == ["interlock.yaml"]  # it is read-only there


def test_the_images_command_is_refused_without_a_key_and_serves_with_one(tmp_path, port):
    config = configured(tmp_path, port, "sqlite:////var/lib/interlock/interlock.db")
    command = [str(config) if word == "/etc/interlock/interlock.yaml" else word for word in docker("ENTRYPOINT")]
    command[0] = str(BIN / command[0])
    refused = run(*command, *docker("CMD"))
    assert (refused.returncode, "interlock keys create" in refused.stderr) == (2, True)
    a_first_key(tmp_path)
    served([*command, *(word.replace("0.0.0.0", "127.0.0.1") for word in docker("CMD"))], tmp_path, port)


def test_the_compose_files_command_serves_on_postgresql(tmp_path, port, postgres_url):
    gateway = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["gateway"]
    assert gateway["environment"] == {"PGPASSFILE": "/run/secrets/pgpass"}
    assert int(gateway["stop_grace_period"].removesuffix("s")) > 30
    config = configured(tmp_path, port, postgres_url)
    a_first_key(tmp_path)
    more = [word.replace("0.0.0.0", "127.0.0.1") for word in gateway["command"]]
    served([str(BIN / "interlock"), "serve", "--config", str(config), *more], tmp_path, port)
