"""The files that people deploy with are sound, as far as they can be without a container engine."""

import configparser
import shutil
import subprocess
import sys
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
